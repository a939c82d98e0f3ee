/** A pair on a host: what it lacks there, and what is left of it, as the pair's own `enforce` and `check` ask. */
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import { filterCpu, type Lacks, lacksOf } from './enforce.js';
import { isHostModel } from './host-model.js';
import { identityOf, type ResolvedCpu, type ResolveRequest, resolveCpu } from './resolve.js';

/** `enforce` refuses, `check` (QEMU's default) warns and filters, `filter` filters without a word (`check=off`). */
export type EnforceMode = 'enforce' | 'check' | 'filter';

export interface PairOnHost {
  readonly pair: string;
  /** The named model: for `best` the one that it found. */
  readonly model: string;
  readonly mode: EnforceMode;
  readonly lacks: Lacks;
  /** Features that were switched off because the host lacks them. */
  readonly removed: readonly string[];
  /** What the host can give; the whole pair where `lacks` is empty. */
  readonly identity: CpuIdentity;
  /** False where the identity follows the host: `host`, `max`, `best`, `host-phys-bits=on`, or anything filtered. */
  readonly migrationSafe: boolean;
}

/** Throws `InputError` as `resolve` does, `MachineError` `no-model-runs` for `best`. */
export function resolveOnHost(request: ResolveRequest & { readonly host: HostCapabilities }): PairOnHost {
  const resolved = resolveCpu(request);
  const { cpu, expansion } = resolved;
  const lacks = lacksOf(cpu, expansion.withoutNeeds, request.host);
  const filtered = filterCpu(cpu, request.host);
  return {
    pair: resolved.pair,
    model: resolved.model.versionName,
    mode: modeOf(resolved),
    lacks,
    removed: filtered.removed,
    identity: identityOf({ ...resolved, cpu: filtered.cpu }, request),
    migrationSafe: !followsHost(resolved) && filtered.removed.length === 0,
  };
}

const modeOf = ({ cpu }: ResolvedCpu): EnforceMode =>
  cpu.on('enforce') ? 'enforce' : cpu.on('check') ? 'check' : 'filter';

/** True where the identity is a function of the host. */
export const followsHost = ({ pair, cpu }: Pick<ResolvedCpu, 'pair' | 'cpu'>): boolean =>
  isHostModel(/\/([^,]*)/.exec(pair)![1]!) || cpu.on('host-phys-bits');
