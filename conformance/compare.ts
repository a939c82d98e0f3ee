/**
 * The oracle: what a guest saw against what it must see, in both directions. Nothing is masked: fields that follow other state
 * are recomputed from the dump, and every observed answer and every contract row is accounted for.
 */
import { hex32 } from '../corpora/hex.js';
import type { CpuIdentity } from '../corpora/identity.js';
import type { Observation, VcpuObservation } from '../corpora/observation.js';
import { type Reason, reason } from '../corpora/verdict.js';
import { compareCpuid } from './oracle/compare-cpuid.js';
import { compareMsrs, compareRegisters, timeGoesOn } from './oracle/compare-msrs.js';
import type { CompareContext, ExpectedVcpu, Say } from './oracle/context.js';
import { tableShown } from './oracle/expected-cpuid.js';

export type { CompareContext, ExpectedVcpu } from './oracle/context.js';

/** All differences of a whole observation from the identity; MSRs that the identity lacks are taken as said by `otherMsrs`. */
export function compareWithIdentity(
  identity: Pick<CpuIdentity, 'vcpus' | 'msrs'>,
  seen: Observation,
  otherMsrs: ExpectedVcpu['otherMsrs'],
  context: CompareContext,
): Reason[] {
  return pairUp(identity.vcpus, seen.vcpus, context, (vcpu, one) =>
    compareVcpu({ ...vcpu, msrs: identity.msrs, otherMsrs, rowsBeyondMaximum: 'different' }, one, context),
  );
}

/** All differences of one vCPU's dump from what it must show. Empty where, and only where, it shows exactly that. */
export function compareVcpu(expected: ExpectedVcpu, seen: VcpuObservation, context: CompareContext): Reason[] {
  const say = sayer(context.step, seen.index);
  return [
    ...compareApicId(expected, seen, say),
    ...compareCpuid(expected, seen, context, say),
    ...compareMsrs(expected, seen, context, say),
  ];
}

/** Does the same guest, at a later time, show the same? `sameBoot`: no reset lies between, so that time goes on. */
export function compareObservations(
  before: Observation,
  after: Observation,
  context: CompareContext & { readonly sameBoot: boolean },
): Reason[] {
  return pairUp(before.vcpus, after.vcpus, context, (first, second) => compareDumps(first, second, context));
}

/** All differences between two dumps of one vCPU; derived bits are recomputed for the second one's state. */
export function compareDumps(
  before: VcpuObservation,
  after: VcpuObservation,
  context: CompareContext & { readonly sameBoot: boolean },
): Reason[] {
  const say = sayer(context.step, after.index);
  const expected: ExpectedVcpu = {
    ...{ index: before.index, apicId: before.apicId, msrs: before.msrs },
    cpuid: tableShown(before, context.answerer),
    otherMsrs: 'denied',
    rowsBeyondMaximum: 'different',
  };
  return [
    ...compareVcpu(expected, after, context),
    ...compareRegisters(before, after, context, say),
    ...(context.sameBoot ? timeGoesOn(before, after, context, say) : []),
  ];
}

const sayer = (step: string, vcpu: number): Say => {
  return (facts) => reason({ step, vcpu, ...facts });
};

/** CPUID 1 shows the low 8 bits of the id; a CPU of level 0 has no such leaf. */
function compareApicId(expected: ExpectedVcpu, seen: VcpuObservation, say: Say): Reason[] {
  if (expected.cpuid.value(0, null, 'eax') === 0) return [];
  const [contract, guest] = [hex32(expected.apicId & 0xff), hex32(seen.apicId)];
  if (contract === guest) return [];
  return [say({ code: 'apic-id-changed', contract, guest, message: `APIC id: contract ${contract}, guest ${guest}` })];
}

/** Matches vCPUs by number; each one missing and each one too many is a difference. */
function pairUp<E extends { readonly index: number }>(
  expected: readonly E[],
  seen: readonly VcpuObservation[],
  { step }: CompareContext,
  compare: (expected: E, seen: VcpuObservation) => Reason[],
): Reason[] {
  const missing = expected.filter(({ index }) => !seen.some((one) => one.index === index));
  return [
    ...missing.map(({ index }) =>
      reason({ code: 'vcpu-not-observed', step, vcpu: index, message: `vCPU ${index} sent no record` }),
    ),
    ...seen.flatMap((one, i) => {
      const match = expected.find(({ index }) => index === one.index);
      const twice = seen.findIndex(({ index }) => index === one.index) !== i;
      if (match && !twice) return compare(match, one);
      const message = `vCPU ${one.index} ${twice ? 'sent two records' : 'is not in the contract'}`;
      return [reason({ code: 'vcpu-not-expected', step, vcpu: one.index, message })];
    }),
  ];
}
