/** Two QEMU binaries pair by pair: does a guest of the one see the same under the other? Results are cells of a result log. */

import { GuestAbiError } from '../../../corpora/errors.js';
import { featureName } from '../../../corpora/features.js';
import type { CpuIdentity } from '../../../corpora/identity.js';
import { namedMsrs } from '../../../corpora/msrs.js';
import type { VcpuObservation } from '../../../corpora/observation.js';
import { formatPair, parseCpu } from '../../../corpora/pair.js';
import { formatSmp, ONE_CPU } from '../../../corpora/smp.js';
import { type CellResult, type Reason, reason, type Verdict } from '../../../corpora/verdict.js';
import { shownUnderQemu } from '../../../corpora/volatility/under-qemu.js';
import { loadVolatility } from '../../../corpora/volatility/volatility.js';
import type { Accelerator } from '../../../reference-vmm/cpu-model/properties.js';
import { resolve } from '../../../reference-vmm/cpu-model/resolve.js';
import { compareObservations } from '../../compare.js';
import { askOverview } from '../../import/qemu-expansion.js';
import type { QemuLauncher } from '../../packages/qemu-trees.js';
import { emulatorOf, underEmulator } from './emulator.js';
import type { BootEnd } from './one-boot.js';
import { inParallel, type QemuPair, type TableOptions, TableReader } from './tables.js';

/** Models that follow the accelerator or the host: nothing is promised of them. */
const FOLLOWERS: ReadonlySet<string> = new Set(['host', 'max']);

/** Pairs of two QEMUs: every machine type with every model that promises anything. */
export interface Common {
  readonly pairs: readonly QemuPair[];
  /** Those that only the base has, and only the head. */
  readonly gone: readonly QemuPair[];
  readonly added: readonly QemuPair[];
}

/** Asks both binaries what they have. Throws `MachineError` where one does not start. */
export async function commonPairs(base: QemuLauncher, head: QemuLauncher): Promise<Common> {
  const [before, after] = await Promise.all([pairsOf(base), pairsOf(head)]);
  return {
    pairs: [...before].filter(([name]) => after.has(name)).map(([, pair]) => pair),
    gone: without(before, after),
    added: without(after, before),
  };
}

async function pairsOf(qemu: QemuLauncher): Promise<Map<string, QemuPair>> {
  const { machines, models } = await askOverview(qemu);
  const promised = models.filter((name) => !FOLLOWERS.has(name));
  return new Map(
    machines.flatMap((machine) => promised.map((cpu) => [`${machine}/${cpu}`, { machine, cpu }] as const)),
  );
}

const without = (one: ReadonlyMap<string, QemuPair>, other: ReadonlyMap<string, QemuPair>): QemuPair[] =>
  [...one].filter(([name]) => !other.has(name)).map(([, pair]) => pair);

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
 * the head refuses; `skipped` where the base gives no such guest; `crashed`, `hung`, the base's too where that was none of its own doing. Results come in the order in which they end.
 */
export async function* compareQemus(
  base: QemuLauncher,
  head: QemuLauncher,
  pairs: Iterable<QemuPair>,
  options: ComparisonOptions = {},
): AsyncGenerator<CellResult> {
  const accel = options.accel ?? 'tcg';
  await using reader = await TableReader.open({ ...options, msrs: namedMsrs() });
  const between = {
    accel,
    smp: options.smp ?? ONE_CPU,
    base: emulatorOf(base.version),
    head: emulatorOf(head.version),
  };
  const compare = async (pair: QemuPair): Promise<CellResult> => {
    const started = performance.now();
    const before = await reader.read(base, pair);
    const after = before.kind === 'observed' ? await reader.read(head, pair) : before;
    const judged = judgeEnds(pair, before, after, between);
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

function judgeEnds(pair: QemuPair, before: BootEnd, after: BootEnd, between: Between): Judged {
  if (before.kind !== 'observed') {
    const isNotOfPair = before.kind === 'hung' || before.code === 'qemu-killed';
    return { verdict: isNotOfPair ? before.kind : 'skipped', reasons: [failed(before)] };
  }
  if (after.kind !== 'observed') return { verdict: after.kind, reasons: [failed(after)] };
  const [ours, theirs] = [between.base, between.head].map((emulator) => identityOf(pair, emulator, between));
  const withOwnMsrs = ownMsrs(ours ?? null, between.accel);
  const shown = (seen: VcpuObservation, i: number): VcpuObservation =>
    ours && theirs ? underEmulator(seen, ours.vcpus[i]!, theirs.vcpus[i]!, between.accel) : seen;
  const reasons = compareObservations(
    { vcpus: before.vcpus.map(withOwnMsrs) },
    { vcpus: after.vcpus.map(shown).map(withOwnMsrs) },
    {
      ...{ volatility: VOLATILITY, nameOf: featureName, step: 'boot', sameBoot: false },
      answerer: between.accel,
    },
  );
  return { verdict: reasons.length > 0 ? 'changed' : 'identical', reasons };
}

/** What is compared: under which accelerator, and whose emulators answer. */
interface Between extends Pick<TableOptions, 'smp' | 'force'> {
  readonly accel: Accelerator;
  readonly base: string;
  readonly head: string;
}

const VOLATILITY = loadVolatility();

const failed = (end: Exclude<BootEnd, { kind: 'observed' }>): Reason =>
  reason({ code: end.code, step: 'boot', layer: 'monitor', message: end.message });

/** What the pair resolves to; null where it is none of ours (a machine type or model that is being developed). */
function identityOf(
  { machine, cpu }: QemuPair,
  emulator: string,
  { smp, accel, force = true }: Pick<Between, 'smp' | 'accel' | 'force'>,
): CpuIdentity | null {
  try {
    const forced = force ? `${cpu},x-force-features=on` : cpu;
    return resolve({ machine, cpu: forced, ...(smp && { smp }), accelerator: accel, emulator });
  } catch (error) {
    if (error instanceof GuestAbiError) return null;
    throw error;
  }
}

/**
 * QEMU denies no MSR that a guest should not have, and newer ones know more: only those of the pair's identity are compared, and none that firmware
 * wrote. All that were read, where there is no identity.
 */
function ownMsrs(identity: CpuIdentity | null, accel: Accelerator): (seen: VcpuObservation) => VcpuObservation {
  const isCompared = comparedMsrs(identity, accel);
  return (seen) => ({ ...seen, msrs: seen.msrs.filter(({ index }) => isCompared(index)) });
}

function comparedMsrs(identity: CpuIdentity | null, accel: Accelerator): (index: number) => boolean {
  const own = identity && new Set(identity.msrs.map(({ index }) => index));
  return (index) =>
    (own?.has(index) ?? true) && typeof shownUnderQemu(index, accel, identity?.features ?? []) !== 'string';
}

/** How many of the MSRs that guests of the pair are asked for are not compared. */
export function msrsLeftOut(pair: QemuPair, base: QemuLauncher): number {
  const isCompared = comparedMsrs(identityOf(pair, emulatorOf(base.version), { smp: ONE_CPU, accel: 'tcg' }), 'tcg');
  return namedMsrs().filter((index) => !isCompared(index)).length;
}
