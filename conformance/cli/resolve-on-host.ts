/** `resolve --host`: a pair as one host can give it, or the refusal that `enforce` asks for. */
import type { Definitions } from '../../corpora/definitions.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import { type PairOnHost, resolveOnHost } from '../../reference-vmm/cpu-model/on-host.js';
import { reasonLines } from '../../reports/reasons.js';
import { oneHost } from './named-hosts.js';
import { type CommonOptions, print, printJson, warn } from './output.js';
import type { PairRequest } from './pairs.js';

export type AtHost =
  | { readonly refused: true }
  | { readonly identity: CpuIdentity; readonly facts: Readonly<Record<string, unknown>> };

/** `check` warns on stderr of what it filters; `enforce` prints what is missing. A CPU that follows its host is told on stderr too. */
export async function resolveAtHost(
  name: string,
  { machine, cpu, smp }: PairRequest,
  definitions: Definitions,
  options: CommonOptions,
): Promise<AtHost> {
  const { id, host } = await oneHost(name);
  const found = resolveOnHost({ machine, cpu, smp, definitions, host });
  const facts = factsOf(id, found);
  if (!found.migrationSafe && found.lacks.reasons.length === 0)
    warn(`${found.pair} on ${id}: not migration-safe, another host gives another CPU`);
  if (found.lacks.reasons.length === 0) return { identity: found.identity, facts };
  if (found.mode === 'enforce') {
    if (options.json) printJson('resolve', { pair: found.pair, ...facts, refused: true });
    else print([`${found.pair} on ${id}: refused by enforce`, ...lines(found)].join('\n'));
    return { refused: true };
  }
  if (found.mode === 'check') warn([`${found.pair} on ${id} lacks:`, ...lines(found)].join('\n'));
  return { identity: found.identity, facts };
}

const lines = ({ lacks }: PairOnHost): string[] => reasonLines(lacks.reasons).map((line) => `    ${line}`);

const factsOf = (host: string, { model, mode, lacks, migrationSafe }: PairOnHost) => ({
  host,
  mode,
  model,
  migrationSafe,
  reasons: lacks.reasons,
  unavailableFeatures: lacks.unavailable,
  filteredFeatures: lacks.filtered,
});
