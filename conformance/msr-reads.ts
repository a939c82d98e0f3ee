/** The read sweep: a guest reads MSRs, those of its CPU and all others that there may be; what each gives is held to the identity. */
import { hex32, hex64 } from '../corpora/hex.js';
import type { CpuIdentity } from '../corpora/identity.js';
import { msrLabel, namedMsrs } from '../corpora/msrs.js';
import { MSR_CAP } from '../corpora/probe-abi.js';
import { loadVolatility, msrClass } from '../corpora/volatility/volatility.js';
import { isOpen, resetMsrs } from '../reference-vmm/cpu-model/msrs.js';
import type { Host } from './hosts/host.js';
import { CALL_DEADLINE, rangeMsrs, request, running, type SweepMode } from './msr-writes.js';
import { forcedMsrs } from './probe-msrs.js';

/** What one guest reads on one host. */
export interface ReadSweep {
  /** By index: the value, 16 digits; `varies` where it is time or the host's; or the fault. */
  readonly seen: ReadonlyMap<number, string>;
  /** MSRs of forced features, of which a kernel makes what it likes: not in `seen`. */
  readonly forced: ReadonlySet<number>;
  /** In words: each MSR that reads otherwise than the identity has it. */
  readonly findings: readonly string[];
}

/** All that the dictionary names; `expensive`: also every other index of `MSR_RANGES`. */
export const sweptMsrs = (mode: SweepMode): readonly number[] =>
  mode === 'cheap' ? namedMsrs() : [...new Set([...namedMsrs(), ...rangeMsrs()])].sort((a, b) => a - b);

/**
 * Reads MSRs in as many boots as that takes. `hosts`: all whose answers are to be compared; features that any of them lacks are forced. The guest
 * of an open pair has what its kernel has, and is held to nothing. Throws `MachineError` where a guest does not run.
 */
export async function sweepReads(
  host: Host,
  identity: CpuIdentity,
  indices: readonly number[],
  hosts: readonly Host[] = [host],
): Promise<ReadSweep> {
  const forced = forcedMsrs(
    identity,
    hosts.map(({ capabilities }) => capabilities),
  );
  const asked = indices.filter((index) => !forced.has(index));
  const seen = new Map<number, string>();
  await using session = await host.warm();
  for (let at = 0; at < asked.length; at += MSR_CAP) {
    const boot = request(identity, asked.slice(at, at + MSR_CAP));
    const { vcpus } = running(await session.agent.call('boot', boot, CALL_DEADLINE), 'the boot');
    for (const msr of vcpus[0]!.msrs)
      seen.set(Number(msr.index), 'fault' in msr ? msr.fault : valueText(Number(msr.index), msr.value));
  }
  const own = new Map(resetMsrs(identity).map(({ index, value }) => [index, valueText(index, hex64(value))]));
  const findings = isOpen(identity) ? [] : asked.flatMap((index) => finding(index, seen.get(index), own.get(index)));
  return { seen, forced, findings };
}

const finding = (index: number, is = 'nothing', must = '#GP'): string[] =>
  is === must ? [] : [`${msrLabel(index)}: reads ${is}, must ${must}`];

const VOLATILITY = loadVolatility();
const IA32_TSC_DEADLINE = 0x6e0;

/** A deadline that nobody set stands still at 0. */
function valueText(index: number, value: string): string {
  const kind = msrClass(VOLATILITY, index);
  return (kind === 'time' && index !== IA32_TSC_DEADLINE) || kind === 'host' ? 'varies' : value;
}

export const isFault = (outcome: string): boolean => outcome.startsWith('#');

export const readSweepToJson = ({ seen, forced, findings }: ReadSweep): object => ({
  msrs: [...seen].map(([index, is]) => ({ index: hex32(index), [isFault(is) ? 'fault' : 'value']: is })),
  forced: [...forced].map(hex32),
  findings,
});
