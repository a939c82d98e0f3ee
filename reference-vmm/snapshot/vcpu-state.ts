/** A vCPU's state: taken whole, and given back whole or refused. Nothing is dropped silently. */
import type { CpuidTable } from '../../corpora/cpuid.js';
import { hex32, hex64 } from '../../corpora/hex.js';
import type { MsrValue } from '../../corpora/identity.js';
import { msrLabel } from '../../corpora/msrs.js';
import { type Reason, type ReasonFacts, reason } from '../../corpora/verdict.js';
import { countsTime, inSetOrder } from '../cpu-model/msrs.js';
import type { StatePart, Vcpu } from '../kvm/kvm.js';
import { KvmError } from '../kvm/kvm-error.js';

/**
 * The parts that travel, in the order in which a destination must take them: the local APIC needs the APIC base of `sregs`, XCR0 must stand before
 * `xsave`. `fpu` is in `xsave`.
 */
export const TRAVELLING_PARTS = [
  'sregs',
  'xcrs',
  'xsave',
  'regs',
  'debugregs',
  'lapic',
  'events',
  'mp-state',
] as const satisfies readonly StatePart[];
export type TravellingPart = (typeof TRAVELLING_PARTS)[number];

export interface VcpuState {
  readonly index: number;
  readonly parts: Readonly<Record<TravellingPart, Uint8Array>>;
  /** MSRs that KVM holds. */
  readonly msrs: readonly MsrValue[];
  /** MSRs that only the monitor holds, where they are not as after power-on. */
  readonly held: readonly MsrValue[];
  readonly tscKhz: number;
}

/** Takes the state of a stopped vCPU. Of `travelling` (`travellingMsrs`) those that KVM does not let us read do not travel. */
export function takeVcpuState(
  vcpu: Vcpu,
  index: number,
  travelling: readonly number[],
  held: readonly MsrValue[] = [],
): VcpuState {
  // First: KVM carries out an INIT or SIPI that waits before it answers, and that changes CS and RIP.
  const mpState = vcpu.getState('mp-state');
  const part = (name: TravellingPart): [TravellingPart, Uint8Array] => [name, vcpu.getState(name)];
  return {
    index,
    parts: {
      ...(Object.fromEntries(TRAVELLING_PARTS.map(part)) as Record<TravellingPart, Uint8Array>),
      'mp-state': mpState,
    },
    msrs: readableMsrs(vcpu, travelling),
    held,
    tscKhz: vcpu.getTscKhz(),
  };
}

/** All that KVM lets us read: the read stops at each refused MSR, and goes on behind it. */
export function readableMsrs(vcpu: Vcpu, indices: readonly number[]): MsrValue[] {
  const values: MsrValue[] = [];
  for (let rest = indices; rest.length > 0; ) {
    const read = vcpu.getMsrs(rest);
    values.push(...read);
    rest = rest.slice(read.length + 1);
  }
  return values;
}

/**
 * Gives a vCPU, whose CPUID is set, the state. Gives a reason for every part and every MSR that the kernel would not take or did not keep;
 * the vCPU must not run then. What is otherwise here and breaks no promise goes into `notes`.
 */
export function giveVcpuState(vcpu: Vcpu, state: VcpuState, step = 'destination', notes: Reason[] = []): Reason[] {
  const give = (parts: readonly TravellingPart[]) => parts.flatMap((part) => givePart(vcpu, state, part, step));
  return [
    ...giveTscKhz(vcpu, state, step, notes),
    ...give(TRAVELLING_PARTS.filter((part) => part !== 'mp-state')),
    ...partTsc(vcpu, state),
    ...setMsrs(vcpu, inSetOrder(state.msrs), state.index, step).map(({ reason: why }) => why),
    ...give(['mp-state']),
  ];
}

/** E.g. XSAVE state of components that this host does not have: KVM takes the CPUID and refuses the state. */
const givePart = (vcpu: Vcpu, { index, parts }: VcpuState, part: TravellingPart, step: string): Reason[] =>
  reasonOf(
    () => vcpu.setState(part, parts[part]),
    (error) => ({
      ...{ code: 'state-not-settable', step, vcpu: index, layer: 'kernel' as const },
      message: `state '${part}': ${error.message}`,
    }),
  );

/** Runs `set`; where the kernel refuses, the reason. */
function reasonOf(set: () => void, facts: (error: KvmError) => ReasonFacts): Reason[] {
  try {
    set();
    return [];
  } catch (error) {
    if (!(error instanceof KvmError)) throw error;
    return [reason(facts(error))];
  }
}

/**
 * KVM takes a frequency within its tolerance (250 ppm) without TSC scaling; any other needs hardware that scales. Without it a guest that
 * was told a frequency cannot run here; one that was not measures it anew, and that it changed is noted.
 */
function giveTscKhz(vcpu: Vcpu, { index, tscKhz }: VcpuState, step: string, notes: Reason[]): Reason[] {
  const own = vcpu.getTscKhz();
  if (own === tscKhz) return [];
  const refusals = reasonOf(
    () => vcpu.setTscKhz(tscKhz),
    (error) => ({
      ...{ code: 'tsc-frequency', step, vcpu: index, layer: 'host-cpu' as const },
      message: `TSC of ${tscKhz} kHz, here ${own} kHz: ${error.message}`,
    }),
  );
  if (pinsTsc(vcpu.getCpuid2())) return refusals;
  notes.push(...refusals);
  return [];
}

/** Whether the guest is told its TSC frequency: QEMU's `tsc-frequency` shows in leaf 0x40000010. */
const pinsTsc = (cpuid: CpuidTable): boolean => cpuid.value(0x4000_0010, null, 'eax') !== 0;

const TSC = 0x10;
/** Further from any TSC than a second at any frequency. */
const FAR = 1n << 62n;

/**
 * Puts the first vCPU's TSC far away before it is set. KVM takes a value within a second of what the VM's TSC is by now for an attempt
 * to make vCPUs agree, and keeps its own (Linux arch/x86/kvm/x86.c, `kvm_synchronize_tsc`): a guest that was saved within its first
 * second would see its TSC run back. The other vCPUs then agree with the first. To KVM, 0 always means to agree.
 */
function partTsc(vcpu: Vcpu, { index, msrs }: VcpuState): Reason[] {
  const tsc = msrs.find((msr) => msr.index === TSC)?.value ?? 0n;
  if (index === 0 && tsc !== 0n) vcpu.setMsrs([{ index: TSC, value: BigInt.asUintN(64, tsc + FAR) }]);
  return [];
}

/**
 * MSRs that this kernel reads but does not take back, not even as they are: constants of it, which no guest changes and nothing can
 * carry. Precondition: the vCPU is stopped.
 */
export const constantMsrs = (vcpu: Vcpu, indices: readonly number[]): number[] =>
  setAll(vcpu, readableMsrs(vcpu, indices)).map(({ index }) => index);

/** An MSR that did not arrive, and why. */
export interface MsrRefusal {
  readonly msr: MsrValue;
  readonly reason: Reason;
}

/**
 * Sets MSRs in the order given, and reads them back. Names each that the kernel would not take, or did not keep (those that count time
 * aside).
 */
export function setMsrs(vcpu: Vcpu, msrs: readonly MsrValue[], index: number, step: string): MsrRefusal[] {
  const place = { index, step };
  const refused = setAll(vcpu, msrs);
  const refusals = refused.map((msr) => ({
    msr,
    reason: msrReason('msr-not-settable', place, msr, null, 'the kernel does not take it'),
  }));
  return [
    ...refusals,
    ...notKept(
      vcpu,
      msrs.filter((msr) => !refused.includes(msr) && !countsTime(msr.index)),
      place,
    ),
  ];
}

/** Sets all; goes on behind each that the kernel refuses, so that all of these are found. */
function setAll(vcpu: Vcpu, msrs: readonly MsrValue[]): MsrValue[] {
  const refused: MsrValue[] = [];
  for (let rest = msrs; rest.length > 0; ) {
    const done = vcpu.setMsrs(rest);
    refused.push(...rest.slice(done, done + 1));
    rest = rest.slice(done + 1);
  }
  return refused;
}

interface Place {
  readonly index: number;
  readonly step: string;
}

/** MSRs that read otherwise than they were set. */
function notKept(vcpu: Vcpu, msrs: readonly MsrValue[], place: Place): MsrRefusal[] {
  const values = readableMsrs(
    vcpu,
    msrs.map(({ index }) => index),
  );
  const now = new Map(values.map(({ index, value }) => [index, value]));
  return msrs
    .filter(({ index, value }) => now.get(index) !== value)
    .map((msr) => ({
      msr,
      reason: msrReason(
        'msr-not-kept',
        place,
        msr,
        now.get(msr.index) ?? null,
        'the kernel took it and did not keep it',
      ),
    }));
}

/** MSRs of `travelling` that a state does not carry. */
export function unreadMsrs({ msrs }: Pick<VcpuState, 'msrs'>, travelling: readonly number[]): number[] {
  const carried = new Set(msrs.map(({ index }) => index));
  return travelling.filter((index) => !carried.has(index));
}

/**
 * MSRs of a state that are not those that travel with its identity: one that this side does not know would be lost, one that lacks would
 * stay as it is.
 */
export function strangeMsrs(
  state: Pick<VcpuState, 'index' | 'msrs'>,
  travelling: readonly number[],
  step = 'destination',
): Reason[] {
  const known = new Set(travelling);
  const unknown = state.msrs.filter(({ index }) => !known.has(index));
  const facts = { step, vcpu: state.index, layer: 'monitor' as const };
  return [
    ...unknown.map((msr) =>
      msrReason('msr-unknown', { index: state.index, step }, msr, null, 'the state carries it and this CPU has none'),
    ),
    ...unreadMsrs(state, travelling).map((index) => {
      const message = `${msrLabel(index)}: this CPU has it and the state does not carry it`;
      return reason({ ...facts, code: 'msr-missing', msr: hex32(index), message });
    }),
  ];
}

/** A value of an MSR that only the monitor holds, which it would not take. */
export const heldReason = (msr: MsrValue, index: number, step = 'destination'): Reason =>
  msrReason('msr-unknown', { index, step }, msr, null, 'the monitor holds no such value for this CPU');

function msrReason(code: string, place: Place, { index, value }: MsrValue, now: bigint | null, why: string): Reason {
  const guest = now === null ? null : hex64(now);
  return reason({
    code,
    step: place.step,
    vcpu: place.index,
    msr: hex32(index),
    contract: hex64(value),
    guest,
    layer: 'kernel',
    message: `${msrLabel(index)}: given ${hex64(value)}${guest ? `, kept ${guest}` : ''}: ${why}`,
  });
}
