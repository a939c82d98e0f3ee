/** Mutants of the comparator: each is blind, or sees too much, in one way that a careless edit could make. The suite's own checks must notice. */
import { CpuidTable } from '../../corpora/cpuid.js';
import type { ObservedMsr, VcpuObservation } from '../../corpora/observation.js';
import type { Reason } from '../../corpora/verdict.js';
import { compareObservations, compareVcpu, compareWithIdentity, type ExpectedVcpu } from '../compare.js';
import { blindSpots, type Comparator } from '../oracle/self-check.js';

/** The comparator that judges cells. */
export const REAL: Comparator = { compareVcpu, compareWithIdentity, compareObservations };

/** One that does not say some of what it found. */
const silent = (says: (reason: Reason) => boolean): Comparator => ({
  compareVcpu: (...given) => compareVcpu(...given).filter(says),
  compareWithIdentity: (...given) => compareWithIdentity(...given).filter(says),
  compareObservations: (...given) => compareObservations(...given).filter(says),
});

/** One that looks at something else than what was seen. */
const looksAt = (look: (seen: VcpuObservation, expected: ExpectedVcpu | null) => VcpuObservation): Comparator => ({
  compareVcpu: (expected, seen, context) => compareVcpu(expected, look(seen, expected), context),
  compareWithIdentity: (identity, seen, others, context) =>
    compareWithIdentity(identity, { vcpus: seen.vcpus.map((vcpu) => look(vcpu, null)) }, others, context),
  compareObservations: (before, after, context) =>
    compareObservations(
      { vcpus: before.vcpus.map((vcpu) => look(vcpu, null)) },
      { vcpus: after.vcpus.map((vcpu) => look(vcpu, null)) },
      context,
    ),
});

const withMsrs = (seen: VcpuObservation, change: (msr: ObservedMsr) => ObservedMsr): VcpuObservation => ({
  ...seen,
  msrs: seen.msrs.map(change),
});
const not = (...codes: readonly string[]) => silent(({ code }) => !codes.includes(code));

export const COMPARATOR_MUTANTS: Readonly<Record<string, Comparator>> = {
  'drops a register': silent(({ register }) => register !== 'edx'),
  'ignores rows that the contract lacks': looksAt((seen, expected) => ({
    ...seen,
    cpuid: expected ? seen.cpuid.filter(({ leaf, subleaf }) => expected.cpuid.get(leaf, subleaf)) : seen.cpuid,
  })),
  'ignores rows that were not read': not('cpuid-not-observed'),
  'masks a bit': silent(({ leaf, bit }) => !(leaf === '0x00000007' && bit === 9)),
  'masks derived fields': silent(({ leaf, register }) => !(leaf === '0x0000000d' && register === 'ebx')),
  'takes derived bits as they stand in the table': {
    ...REAL,
    compareVcpu: (expected, seen, context) =>
      compareVcpu(expected, seen, { ...context, volatility: { ...context.volatility, cpuid: [] } }),
    compareWithIdentity: (identity, seen, others, context) =>
      compareWithIdentity(identity, seen, others, { ...context, volatility: { ...context.volatility, cpuid: [] } }),
  },
  'compares the first vCPU only': {
    ...REAL,
    compareWithIdentity: (identity, seen, others, context) =>
      compareWithIdentity(
        { ...identity, vcpus: identity.vcpus.slice(0, 1) },
        { vcpus: seen.vcpus.slice(0, 1) },
        others,
        context,
      ),
  },
  'compares every vCPU with the first': {
    ...REAL,
    compareWithIdentity: (identity, seen, others, context) =>
      compareWithIdentity(
        { ...identity, vcpus: identity.vcpus.map(({ index }) => ({ ...identity.vcpus[0]!, index })) },
        ...([seen, others, context] as const),
      ),
  },
  'does not miss a vCPU that is not there': not('vcpu-not-observed'),
  'does not mind a vCPU too many': not('vcpu-not-expected'),
  'ignores APIC ids': not('apic-id-changed'),
  'takes one fault for the other': looksAt((seen) =>
    withMsrs(seen, (msr) => ('fault' in msr ? { ...msr, fault: '#GP' } : msr)),
  ),
  'swaps fault classes': looksAt((seen) =>
    withMsrs(seen, (msr) => ('fault' in msr ? { ...msr, fault: msr.fault === '#GP' ? '#UD' : '#GP' } : msr)),
  ),
  'takes a fault for 0': looksAt((seen) =>
    withMsrs(seen, (msr) => ('fault' in msr ? { index: msr.index, value: 0n } : msr)),
  ),
  'compares the low half of MSRs': looksAt((seen, expected) =>
    withMsrs(seen, (msr) => {
      const want = expected?.msrs.find(({ index }) => index === msr.index);
      if (!want || !('value' in want) || !('value' in msr)) return msr;
      return { ...msr, value: (want.value & ~0xffffffffn) | (msr.value & 0xffffffffn) };
    }),
  ),
  'ignores MSRs that were not read': not('msr-not-observed'),
  'ignores MSRs that the contract lacks': {
    ...REAL,
    compareVcpu: (expected, seen, context) => compareVcpu({ ...expected, otherMsrs: 'not-compared' }, seen, context),
  },
  'lets MSRs of time fault': silent(({ msr }) => msr !== '0x00000010'),
  'ignores control registers': not('register-changed'),
  'ignores CR4.MCE': silent(({ code, message }) => !(code === 'register-changed' && /^CR4/.test(message))),
  'ignores EFER': silent(({ msr }) => msr !== '0xc0000080'),
  'lets time run backwards': not('time-not-kept'),
  'wants time to stand still': {
    ...REAL,
    compareObservations: (before, after, context) => [
      ...compareObservations(before, after, context),
      ...compareVcpu(
        {
          ...{ index: 0, apicId: before.vcpus[0]!.apicId, cpuid: new CpuidTable([]), msrs: before.vcpus[0]!.msrs },
          ...{ otherMsrs: 'denied', rowsBeyondMaximum: 'different' },
        },
        { ...after.vcpus[0]!, cpuid: [] },
        { ...context, volatility: { ...context.volatility, msrs: new Map() } },
      ),
    ],
  },
  'names the wrong bit': {
    ...REAL,
    compareVcpu: (...given) =>
      compareVcpu(...given).map((reason) => (reason.bit === null ? reason : { ...reason, bit: reason.bit ^ 1 })),
  },
  'says nothing at all': silent(() => false),
};

/** A mutant of the comparator and what the checks say of it. */
export interface ComparatorEnd {
  readonly name: string;
  readonly end: 'caught' | 'SURVIVED';
  /** The first thing that it does not see. */
  readonly finding: string;
}

/** Every mutant; first the real one, of which the checks must say nothing: else none of them proves anything. */
export function playComparators(): ComparatorEnd[] {
  const [wrong] = blindSpots(REAL);
  if (wrong !== undefined) throw new RangeError(`the comparator itself: ${wrong}`);
  return Object.entries(COMPARATOR_MUTANTS).map(([name, mutant]) => {
    const [first] = blindSpots(mutant);
    return { name, end: first === undefined ? 'SURVIVED' : 'caught', finding: first ?? 'every check passes' };
  });
}
