/** Two QEMU binaries pair by pair: does a guest of the one see the same under the other? Results are cells of a result log. */

import { featureName } from '../../../corpora/features.js';
import type { CpuIdentity } from '../../../corpora/identity.js';
import { namedMsrs } from '../../../corpora/msrs.js';
import type { VcpuObservation } from '../../../corpora/observation.js';
import { formatPair, parseCpu } from '../../../corpora/pair.js';
import { formatSmp, ONE_CPU } from '../../../corpora/smp.js';
import { type CellResult, type Reason, reason, type Verdict } from '../../../corpora/verdict.js';
import { loadVolatility } from '../../../corpora/volatility/volatility.js';
import { resetMsrs } from '../../../reference-vmm/cpu-model/msrs.js';
import { resolve } from '../../../reference-vmm/cpu-model/resolve.js';
import { compareObservations } from '../../compare.js';
import { askOverview } from '../../import/qemu-expansion.js';
import type { QemuLauncher } from '../../packages/qemu-trees.js';
import type { BootEnd } from './one-boot.js';
import { inParallel, type QemuPair, type TableOptions, TableReader } from './tables.js';

/** Models that follow the accelerator or the host: nothing is promised of them. */
const FOLLOWERS: ReadonlySet<string> = new Set(['host', 'max']);

/** Machine types and models that both have; those that only one has by their names. */
export interface Common {
  /** Every common machine type with every common model. */
  readonly pairs: readonly QemuPair[];
  readonly machines: readonly string[];
  readonly models: readonly string[];
  readonly onlyBase: { readonly machines: readonly string[]; readonly models: readonly string[] };
  readonly onlyHead: { readonly machines: readonly string[]; readonly models: readonly string[] };
}

/** Asks both binaries what they have. Throws `MachineError` where one does not start. */
export async function commonPairs(base: QemuLauncher, head: QemuLauncher): Promise<Common> {
  const [one, other] = await Promise.all([askOverview(base), askOverview(head)]);
  const machines = shared(one.machines, other.machines);
  const models = shared(one.models, other.models).filter((name) => !FOLLOWERS.has(name));
  return {
    pairs: machines.flatMap((machine) => models.map((cpu) => ({ machine, cpu }))),
    ...{ machines, models },
    onlyBase: { machines: without(one.machines, other.machines), models: without(one.models, other.models) },
    onlyHead: { machines: without(other.machines, one.machines), models: without(other.models, one.models) },
  };
}

const shared = (one: readonly string[], other: readonly string[]): string[] =>
  one.filter((name) => other.includes(name));
const without = (one: readonly string[], other: readonly string[]): string[] =>
  one.filter((name) => !other.includes(name));

/** How the two stand in results: `qemu-5.2 > qemu-7.2`. */
export const comparedSubjects = (base: QemuLauncher, head: QemuLauncher): string =>
  `${subjectName(base)} > ${subjectName(head)}`;

/** `qemu-10.0` for a release, `qemu:/usr/bin/...` for a binary. */
export const subjectName = ({ name }: QemuLauncher): string => (name.includes('/') ? `qemu:${name}` : `qemu-${name}`);

export interface ComparisonOptions extends TableOptions {
  /** Pairs at a time; each is two boots, one after the other. Default: 2. */
  readonly workers?: number;
}

/**
 * Boots each pair under both and compares everything that the guests saw. `identical`; `changed` with every bit by name; `refused` where only
 * the head refuses; `skipped` where the base gives no such guest; `crashed`, `hung`. Results come in the order in which they end.
 */
export async function* compareQemus(
  base: QemuLauncher,
  head: QemuLauncher,
  pairs: Iterable<QemuPair>,
  options: ComparisonOptions = {},
): AsyncGenerator<CellResult> {
  const accel = options.accel ?? 'tcg';
  await using reader = await TableReader.open({ ...options, msrs: namedMsrs() });
  const compare = async (pair: QemuPair): Promise<CellResult> => {
    const started = performance.now();
    const before = await reader.read(base, pair);
    const after = before.kind === 'observed' ? await reader.read(head, pair) : before;
    const judged = judgeEnds(pair, before, after, options);
    return {
      pair: formatPair({ machine: pair.machine, cpu: parseCpu(pair.cpu) }),
      smp: formatSmp(options.smp ?? ONE_CPU),
      subject: comparedSubjects(base, head),
      hosts: [accel],
      scenario: 'boot',
      verdict: judged.verdict,
      // Releases promise that nothing changes.
      predicted: 'identical',
      forced: after.kind === 'observed' ? after.withheld : [],
      evidence: `qemu ${base.version}, guest under ${accel.toUpperCase()}`,
      reasons: judged.reasons,
      ms: Math.round(performance.now() - started),
    };
  };
  yield* inParallel(pairs, options.workers ?? 2, compare, options.signal);
}

interface Judged {
  readonly verdict: Verdict;
  readonly reasons: readonly Reason[];
}

function judgeEnds(pair: QemuPair, before: BootEnd, after: BootEnd, options: ComparisonOptions): Judged {
  if (before.kind !== 'observed') return { verdict: 'skipped', reasons: [failed(before)] };
  if (after.kind !== 'observed') return { verdict: after.kind, reasons: [failed(after)] };
  const asked = identityMsrs(pair, options);
  const own = ({ msrs, ...rest }: VcpuObservation): VcpuObservation => ({
    ...rest,
    msrs: asked ? msrs.filter(({ index }) => asked.has(index)) : msrs,
  });
  const reasons = compareObservations(
    { vcpus: before.vcpus.map(own) },
    { vcpus: after.vcpus.map(own) },
    {
      ...{ volatility: VOLATILITY, nameOf: featureName, step: 'boot', sameBoot: false },
      answerer: options.accel ?? 'tcg',
    },
  );
  return { verdict: reasons.length > 0 ? 'changed' : 'identical', reasons };
}

const VOLATILITY = loadVolatility();

const failed = (end: Exclude<BootEnd, { kind: 'observed' }>): Reason =>
  reason({ code: end.code, step: 'boot', layer: 'monitor', message: end.message });

/**
 * QEMU denies no MSR that a guest should not have, and newer ones know more: only those of the pair's identity are compared. Null where the pair
 * is none of ours: then all that are read.
 */
function identityMsrs({ machine, cpu }: QemuPair, { smp, accel }: ComparisonOptions): ReadonlySet<number> | null {
  let identity: CpuIdentity;
  try {
    identity = resolve({ machine, cpu, ...(smp && { smp }), accelerator: accel ?? 'tcg' });
  } catch {
    return null;
  }
  return new Set(resetMsrs(identity).map(({ index }) => index));
}
