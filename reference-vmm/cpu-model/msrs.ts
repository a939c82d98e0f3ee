/** The MSRs of an identity: which exist, what they hold at reset, what a guest may write, and which travel. */
import { cpuCondition, cpuNumber } from '../../corpora/cpu-condition.js';
import { CpuFacts } from '../../corpora/cpu-facts.js';
import type { CpuIdentity, MsrValue } from '../../corpora/identity.js';
import { type MsrDefinition, msrDictionary, msrName } from '../../corpora/msrs.js';

/** What of an identity decides its MSRs. */
export type MsrSubject = Pick<CpuIdentity, 'vcpus' | 'features'>;

/** An MSR of one vCPU. */
export interface Msr {
  readonly index: number;
  /** Its name in the manual. */
  readonly name: string;
  readonly definition: MsrDefinition;
}

/** The MSRs that exist for a vCPU of an identity, by index. They follow from its CPUID table and its features in feature MSRs. */
export function msrsOf({ vcpus, features }: MsrSubject, vcpu = 0): Msr[] {
  const cpu = new CpuFacts(vcpus[vcpu]!.cpuid, features);
  return msrDictionary()
    .filter(({ exists }) => cpuCondition(exists)(cpu))
    .flatMap((definition) => expand(definition, countOf(definition, cpu)))
    .sort((a, b) => a.index - b.index);
}

const countOf = ({ count = 1 }: MsrDefinition, cpu: CpuFacts): number =>
  typeof count === 'number' ? count : cpuNumber(count)(cpu);

function expand(definition: MsrDefinition, count: number): Msr[] {
  const { index, stride = 1 } = definition;
  return Array.from({ length: count }, (_, number) => ({
    index: Number(index) + number * stride,
    name: msrName(definition, number),
    definition,
  }));
}

/**
 * True for a pair that follows its host: models `host` and `max`, machine types `pc-next`. Its guest reaches every MSR that the
 * kernel has, and every MSR that the kernel lists travels.
 */
export const isOpen = ({ cpuModel, machine }: Pick<CpuIdentity, 'cpuModel' | 'machine'>): boolean =>
  cpuModel === 'host' || cpuModel === 'max' || /(^|-)next$/.test(machine);

/**
 * The MSRs that KVM holds and that a snapshot or a migration must carry, by index. For a pair with an identity of its own they are the
 * MSRs of the identity, whatever the kernel lists; for an open one also `listed` (KVM_GET_MSR_INDEX_LIST).
 */
export function travellingMsrs(identity: CpuIdentity, listed: readonly number[]): number[] {
  const open = isOpen(identity);
  const own = msrsOf(identity)
    .filter(({ definition: { held, travels } }) => travels.how === 'always' || (open && held === 'monitor'))
    .map(({ index }) => index);
  return [...new Set(open ? [...own, ...listed] : own)].sort((a, b) => a - b);
}

/** Values in an order in which a destination may set them: each after those that the dictionary puts before it. */
export function inSetOrder(values: readonly MsrValue[]): MsrValue[] {
  const depths = setDepths();
  return [...values].sort((a, b) => (depths.get(a.index) ?? 0) - (depths.get(b.index) ?? 0));
}

let depthOf: ReadonlyMap<number, number> | undefined;

/** How long the chain of MSRs is that must come first; one beyond any chain where the local APIC must. */
function setDepths(): ReadonlyMap<number, number> {
  if (depthOf) return depthOf;
  const after = new Map(msrDictionary().map(({ index, after: befores = [] }) => [index, befores]));
  const depth = (index: string): number =>
    Math.max(0, ...(after.get(index) ?? []).map((before) => (after.has(before) ? depth(before) + 1 : 0)));
  depthOf = new Map(
    msrDictionary().flatMap((definition) => {
      const count = typeof definition.count === 'number' ? definition.count : 1;
      return expand(definition, count).map(({ index }) => [index, depth(definition.index)] as const);
    }),
  );
  return depthOf;
}

let timed: ReadonlySet<number> | undefined;

/** True for an MSR that reads otherwise a moment later, because it counts. */
export function countsTime(index: number): boolean {
  timed ??= new Set(
    msrDictionary()
      .filter(({ volatility }) => volatility.class === 'time')
      .map((definition) => Number(definition.index)),
  );
  return timed.has(index);
}
