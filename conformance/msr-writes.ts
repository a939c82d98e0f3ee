/** The write sweep: a guest writes legal, boundary and reserved values to MSRs, reads each back, and restores it; what came of each is held to the manuals' masks. */
import { GuestAbiError, MachineError } from '../corpora/errors.js';
import { hex32, hex64 } from '../corpora/hex.js';
import { type CpuIdentity, identityToJson } from '../corpora/identity.js';
import { msrLabel, namedMsrs } from '../corpora/msrs.js';
import { judgeWrite } from '../reference-vmm/cpu-model/msr-masks.js';
import { isPageAddress, legalValue } from '../reference-vmm/cpu-model/msr-values.js';
import { countsTime, type Msr, msrsOf } from '../reference-vmm/cpu-model/msrs.js';
import { outcomeText } from './hosts/agent/outcome-text.js';
import type { Outcome, Params } from './hosts/agent/protocol.js';
import type { AgentSession, Host } from './hosts/host.js';
import { forcedMsrs } from './probe-msrs.js';

/** The ranges in which CPUs and hypervisors have MSRs, as base and length. */
export const MSR_RANGES = [
  [0, 0x2000],
  [0x40000000, 0x200],
  [0x4b564d00, 0x100],
  [0xc0000000, 0x3000],
  [0xc0010000, 0x2000],
] as const;

/** `cheap`: all MSRs that the dictionary names. `expensive`: also every other index of `MSR_RANGES`. */
export type SweepMode = 'cheap' | 'expensive';

/** What came of the writes to one MSR. */
export interface SweptMsr {
  readonly index: number;
  readonly writes: number;
  readonly faults: number;
  /** Bits that no write had set: they bring down this host itself. */
  readonly untried: bigint;
  /** In words, each value with what the guest saw and what it must. */
  readonly findings: readonly string[];
}

/** RAM that the probe does not use. */
const SPARE = { page: 0x3ff000 };
const X2APIC = '0x00000800';
/** IA32_APIC_BASE, FS and GS base: what the probe stands on. */
const GROUND: ReadonlySet<number> = new Set([0x1b, 0xc0000100, 0xc0000101]);
/** Takes writes only while the guest's APIC timer counts to a deadline (SDM vol. 3, 11.5.4.1). */
const TSC_DEADLINE = 0x6e0;
/** Wrong bits of it end a vCPU for good (EFER.LMSLE: KVM_EXIT_FAIL_ENTRY), so its writes have a guest of their own. */
const EFER = 0xc0000080;
/** MSRs whose values each dump reads: each costs an exit. */
const GROUP = 24;

const isSwept = ({ index, definition }: Msr): boolean =>
  !GROUND.has(index) && definition.index !== X2APIC && index !== TSC_DEADLINE && !countsTime(index);

/** Sweeps the MSRs of an identity, and those that it has not, on a host. Throws `MachineError` where a guest or its host ends under a write, naming MSR and value. */
export async function sweepWrites(host: Host, identity: CpuIdentity, mode: SweepMode): Promise<SweptMsr[]> {
  const all = msrsOf(identity);
  const forced = forcedMsrs(identity, [host.capabilities]);
  const own = all.filter((msr) => isSwept(msr) && !forced.has(msr.index));
  const known = new Set(all.map(({ index }) => index));
  const others = [...new Set([...namedMsrs(), ...(mode === 'expensive' ? rangeMsrs() : [])])].filter(
    (index) => !known.has(index) && !isX2apic(index),
  );
  const efer = own.filter(({ index }) => index === EFER);
  const groups = chunks(own.filter(({ index }) => index !== EFER));
  const swept: SweptMsr[] = [];
  for (const group of [...groups, efer]) swept.push(...(await sweepGroup(host, identity, group)));
  swept.push(...(await sweepDenied(host, identity, others)));
  return swept.sort((a, b) => a.index - b.index);
}

export const rangeMsrs = (): number[] =>
  MSR_RANGES.flatMap(([base, length]) => Array.from({ length }, (_, i) => base + i));

/** x2APIC MSRs cannot be filtered, and fault until the guest enables the mode. */
const isX2apic = (index: number): boolean => index >= 0x800 && index < 0x900;

const chunks = (msrs: readonly Msr[]): Msr[][] =>
  Array.from({ length: Math.ceil(msrs.length / GROUP) }, (_, i) => msrs.slice(i * GROUP, (i + 1) * GROUP));

/** A legal value, both boundaries, and each kind of bit that is not kept, alone: the lowest and the highest reserved, the lowest swallowed; `untried` clear in all. */
function valuesFor(msr: Msr, seed: number, untried: bigint): bigint[] {
  const { writable, ignored, definition } = msr;
  if (definition.access === 'read') return [0n, 1n];
  const reserved = ~(writable | ignored) & ALL_ONES;
  const boundary = isPageAddress(msr.index) ? [] : [writable];
  const bits = [lowestBit(reserved), highestBit(reserved), lowestBit(ignored)].filter((bit) => bit !== 0n);
  return [...new Set([legalValue(msr, seed, SPARE), 0n, ...boundary, ...bits].map((value) => value & ~untried))];
}

const ALL_ONES = 2n ** 64n - 1n;
const lowestBit = (mask: bigint): bigint => mask & -mask;
const highestBit = (mask: bigint): bigint => (mask === 0n ? 0n : 1n << BigInt(mask.toString(2).length - 1));

async function sweepGroup(host: Host, identity: CpuIdentity, group: readonly Msr[]): Promise<SweptMsr[]> {
  if (group.length === 0) return [];
  await using session = await host.warm();
  const asked = group.filter(({ definition }) => definition.access !== 'write').map(({ index }) => index);
  const boot = running(await session.agent.call('boot', request(identity, asked), CALL_DEADLINE), 'the boot');
  const before = valuesIn(boot);
  const swept: SweptMsr[] = [];
  for (const [seed, msr] of group.entries()) {
    const write = async (value: bigint) => {
      const params = { index: hex32(msr.index), value: hex64(value) };
      const end = await writeOn(session, params);
      return { took: end.written !== '#GP', value: valuesIn(end).get(msr.index) ?? null };
    };
    const untried = host.deadlyMsrBits?.get(msr.index) ?? 0n;
    const one = await sweepOne(msr, valuesFor(msr, seed, untried), before.get(msr.index) ?? null, write);
    swept.push({ ...one, untried });
  }
  return swept;
}

type Write = (value: bigint) => Promise<{ readonly took: boolean; readonly value: bigint | null }>;

async function sweepOne(
  msr: Msr,
  values: readonly bigint[],
  start: bigint | null,
  write: Write,
): Promise<Omit<SweptMsr, 'untried'>> {
  const findings: string[] = [];
  let current = start ?? 0n;
  let faults = 0;
  const place = { paging: () => false, banksWritable: false };
  for (const value of values) {
    const kept =
      msr.definition.access === 'read' ? '#GP' : judgeWrite(msr, msr.definition.form, value, { ...place, current });
    const seen = await write(value);
    if (!seen.took) faults++;
    const wanted = kept === '#GP' ? current : kept;
    if (seen.took !== (kept !== '#GP'))
      findings.push(`${hex64(value)} ${seen.took ? 'was taken, must fault' : 'faults, must be taken'}`);
    if (start !== null && seen.value !== wanted)
      findings.push(
        `after ${hex64(value)} it reads ${seen.value === null ? '#GP' : hex64(seen.value)}, not ${hex64(wanted)}`,
      );
    current = seen.value ?? current;
  }
  if (msr.definition.access === 'read-write' && start !== null && current !== start) {
    const restored = await write(start);
    if (restored.value !== start) findings.push(`${hex64(start)}, with which it began, cannot be restored`);
  }
  return { index: msr.index, writes: values.length, faults, findings };
}

/** A write to an MSR that the CPU has not must fault, whatever the kernel knows. */
async function sweepDenied(host: Host, identity: CpuIdentity, indices: readonly number[]): Promise<SweptMsr[]> {
  await using session = await host.warm();
  running(await session.agent.call('boot', request(identity, []), CALL_DEADLINE), 'the boot');
  const swept: SweptMsr[] = [];
  for (const index of indices) {
    const params = { index: hex32(index), value: hex64(0n) };
    const { written } = await writeOn(session, params);
    const findings = written === '#GP' ? [] : ['is not of this CPU, and a write of 0 was taken'];
    swept.push({ index, writes: 1, faults: written === '#GP' ? 1 : 0, untried: 0n, findings });
  }
  return swept;
}

export const CALL_DEADLINE = 120_000;

/** A boot, features that the host lacks forced. */
export const request = (identity: CpuIdentity, msrs: readonly number[]): Params<'boot'> => ({
  identity: structuredClone(identityToJson(identity)) as never,
  ...{ allowAltered: true, forceFeatures: true, msrs: msrs.map(hex32), fault: null },
});

/** Has the guest write; an error names the MSR and the value. */
async function writeOn({ agent }: AgentSession, params: Params<'write-msr'>): Promise<Running> {
  const what = `a write of ${params.value} to ${msrLabel(Number(params.index))}`;
  try {
    return running(await agent.call('write-msr', params, CALL_DEADLINE), what);
  } catch (error) {
    if (!(error instanceof GuestAbiError)) throw error;
    throw new MachineError(error.code, `${what}: ${error.message}`, { cause: error });
  }
}

type Running = Extract<Outcome, { kind: 'running' }>;

/** Throws `MachineError` `sweep-ended`, with what came instead. */
export function running(outcome: Outcome, after: string): Running {
  if (outcome.kind === 'running') return outcome;
  throw new MachineError('sweep-ended', `${after}: the guest was ${outcomeText(outcome)}`);
}

const valuesIn = ({ vcpus }: Running): Map<number, bigint> =>
  new Map(vcpus[0]!.msrs.flatMap((msr) => ('value' in msr ? [[Number(msr.index), BigInt(msr.value)] as const] : [])));
