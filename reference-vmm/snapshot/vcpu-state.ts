/** A vCPU's state: taken whole, and given back whole or refused. Nothing is dropped silently. */
import { hex32, hex64 } from '../../corpora/hex.js';
import type { MsrValue } from '../../corpora/identity.js';
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
  readonly msrs: readonly MsrValue[];
  readonly tscKhz: number;
}

/** Takes the state of a stopped vCPU. Of `travelling` (`travellingMsrs`) those that KVM does not let us read do not travel. */
export function takeVcpuState(vcpu: Vcpu, index: number, travelling: readonly number[]): VcpuState {
  const part = (name: TravellingPart): [TravellingPart, Uint8Array] => [name, vcpu.getState(name)];
  return {
    index,
    parts: Object.fromEntries(TRAVELLING_PARTS.map(part)) as Record<TravellingPart, Uint8Array>,
    msrs: readableMsrs(vcpu, travelling),
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
 * the vCPU must not run then.
 */
export function giveVcpuState(vcpu: Vcpu, state: VcpuState, step = 'destination'): Reason[] {
  const give = (parts: readonly TravellingPart[]) => parts.flatMap((part) => givePart(vcpu, state, part, step));
  return [
    ...giveTscKhz(vcpu, state, step),
    ...give(TRAVELLING_PARTS.filter((part) => part !== 'mp-state')),
    ...setMsrsOrReasons(vcpu, inSetOrder(state.msrs), state.index, step),
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

/** KVM takes a frequency within its tolerance (250 ppm) without TSC scaling; any other needs hardware that scales. */
function giveTscKhz(vcpu: Vcpu, { index, tscKhz }: VcpuState, step: string): Reason[] {
  const own = vcpu.getTscKhz();
  if (own === tscKhz) return [];
  return reasonOf(
    () => vcpu.setTscKhz(tscKhz),
    (error) => ({
      ...{ code: 'tsc-frequency', step, vcpu: index, layer: 'host-cpu' as const },
      message: `TSC of ${tscKhz} kHz, here ${own} kHz: ${error.message}`,
    }),
  );
}

/**
 * Sets MSRs in the order given, and reads them back. Gives a reason for each that the kernel would not take, or where it took all, for each
 * that it did not keep (those that count time aside).
 */
export function setMsrsOrReasons(vcpu: Vcpu, msrs: readonly MsrValue[], index: number, step: string): Reason[] {
  const refused = setAllMsrs(vcpu, msrs, index, step);
  return refused.length > 0 ? refused : notKept(vcpu, msrs, index, step);
}

/** Sets all; at each MSR that the kernel refuses it notes the reason and goes on behind it, so that all are named. */
function setAllMsrs(vcpu: Vcpu, msrs: readonly MsrValue[], index: number, step: string): Reason[] {
  const reasons: Reason[] = [];
  for (let rest = msrs; rest.length > 0; ) {
    const set = vcpu.setMsrs(rest);
    const at = rest[set];
    if (!at) break;
    reasons.push(msrReason('msr-not-settable', { index, step }, at, null, 'the kernel does not take it'));
    rest = rest.slice(set + 1);
  }
  return reasons;
}

/** MSRs that read otherwise than they were set; those that count time aside. */
function notKept(vcpu: Vcpu, msrs: readonly MsrValue[], vcpuIndex: number, step: string): Reason[] {
  const steady = msrs.filter(({ index }) => !countsTime(index));
  const now = new Map(
    readableMsrs(
      vcpu,
      steady.map(({ index }) => index),
    ).map(({ index, value }) => [index, value]),
  );
  return steady
    .filter(({ index, value }) => now.get(index) !== value)
    .map((msr) =>
      msrReason(
        'msr-not-kept',
        { index: vcpuIndex, step },
        msr,
        now.get(msr.index) ?? null,
        'the kernel took it and did not keep it',
      ),
    );
}

function msrReason(
  code: string,
  place: { readonly index: number; readonly step: string },
  { index, value }: MsrValue,
  now: bigint | null,
  why: string,
): Reason {
  const guest = now === null ? null : hex64(now);
  return reason({
    code,
    step: place.step,
    vcpu: place.index,
    msr: hex32(index),
    contract: hex64(value),
    guest,
    layer: 'kernel',
    message: `MSR ${hex32(index)}: given ${hex64(value)}${guest ? `, kept ${guest}` : ''}: ${why}`,
  });
}
