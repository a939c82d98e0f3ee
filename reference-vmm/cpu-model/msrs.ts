/** The MSRs of an identity: which exist, what they hold at reset, what a guest may write, and which travel. */
import { cpuCondition, cpuNumber } from '../../corpora/cpu-condition.js';
import { CpuFacts } from '../../corpora/cpu-facts.js';
import type { CpuidTable } from '../../corpora/cpuid.js';
import type { CpuIdentity, MsrValue } from '../../corpora/identity.js';
import { Kept, KeptOf } from '../../corpora/kept.js';
import { type MsrDefinition, msrDictionary, msrIndex, msrName } from '../../corpora/msrs.js';
import { type MsrMasks, masksOf } from './msr-masks.js';
import { resetValue } from './msr-resets.js';

/** What of an identity decides its MSRs. */
export type MsrSubject = Pick<CpuIdentity, 'vcpus' | 'features'>;

/** An MSR of one vCPU. */
export interface Msr extends MsrMasks {
  readonly index: number;
  /** Its name in the manual. */
  readonly name: string;
  readonly definition: MsrDefinition;
  /** What it holds after power-on; null where it cannot be read. */
  readonly reset: bigint | null;
}

/** The MSRs that exist for a vCPU of an identity, by index: one list for all that are alike. They follow from its CPUID table and its features in feature MSRs. */
export function msrsOf({ vcpus, features }: MsrSubject, vcpu = 0): readonly Msr[] {
  const { cpuid } = vcpus[vcpu]!;
  const known = lastAnswers.get(cpuid);
  if (known?.vcpu === vcpu && known.features === features) return known.msrs;
  const content = [vcpu, features.join(), cpuid.content].join('|');
  const msrs = answers.answer(content, () => decideMsrs(cpuid, features, vcpu));
  lastAnswers.set(cpuid, { vcpu, features, msrs });
  return msrs;
}

/** An identity is asked several times in one boot. */
const lastAnswers = new WeakMap<
  CpuidTable,
  { readonly vcpu: number; readonly features: readonly string[]; readonly msrs: readonly Msr[] }
>();

/** An answer takes 1 ms. */
const answers = new Kept<readonly Msr[]>();

function decideMsrs(cpuid: CpuidTable, features: readonly string[], vcpu: number): readonly Msr[] {
  const cpu = new CpuFacts(cpuid, features);
  return msrDictionary()
    .filter(({ exists }) => cpuCondition(exists)(cpu))
    .flatMap((definition) => msrsOfDefinition(definition, cpu, vcpu))
    .sort((a, b) => a.index - b.index);
}

function msrsOfDefinition(definition: MsrDefinition, cpu: CpuFacts, vcpu: number): Msr[] {
  const { writable, ignored } = masksOf(definition, cpu);
  const { count = 1 } = definition;
  const msrs: Msr[] = [];
  for (let number = 0; number < (typeof count === 'number' ? count : cpuNumber(count)(cpu)); number++) {
    const index = msrIndex(definition, number);
    const reset = resetValue(definition, cpu, { index, number, vcpu });
    msrs.push({ index, name: msrName(definition, number), definition, reset, writable, ignored });
  }
  return msrs;
}

/** Faults until the guest enables x2APIC mode. */
const X2APIC = '0x00000800';

const MICROCODE_REVISION = 0x8b;

export interface ResetOptions {
  /** Default 0. */
  readonly vcpu?: number;
  /** Property `ucode-rev`; null: as the vendor has it. */
  readonly microcodeRevision?: bigint | null;
}

/**
 * What a vCPU of an identity reads of its MSRs after power-on: those that exist and can be read. An identity carries those of its first
 * vCPU; the others differ where the volatility is `per-vcpu`.
 */
export function resetMsrs(
  subject: MsrSubject,
  { vcpu = 0, microcodeRevision = null }: ResetOptions = {},
): readonly MsrValue[] {
  const msrs = msrsOf(subject, vcpu);
  return knownResets.of(msrs).answer(`${microcodeRevision}`, () =>
    msrs.flatMap(({ index, reset, definition }) => {
      if (reset === null || definition.index === X2APIC) return [];
      return [{ index, value: index === MICROCODE_REVISION ? (microcodeRevision ?? reset) : reset }];
    }),
  );
}

/** By a CPU's MSRs, which are one list for all pairs that are alike. */
const knownResets = new KeptOf<readonly Msr[], readonly MsrValue[]>();

/**
 * True for a pair that follows its host: models `host` and `max`, machine types `pc-next`. Its guest reaches every MSR that the
 * kernel has, and every MSR that the kernel lists travels.
 */
export const isOpen = ({ cpuModel, machine }: Pick<CpuIdentity, 'cpuModel' | 'machine'>): boolean =>
  cpuModel === 'host' || cpuModel === 'max' || /(^|-)next$/.test(machine);

/** One whose bits are features: KVM starts it with what the host has, unless told. */
export const isFeatureMsr = ({ reset }: MsrDefinition): boolean =>
  typeof reset === 'object' && 'rule' in reset && reset.rule === 'features';

/**
 * The MSRs that KVM holds and that a snapshot or a migration must carry, by index. For a pair with an identity of its own they are the
 * MSRs of the identity, whatever the kernel lists; for an open one also `listed` (KVM_GET_MSR_INDEX_LIST), but for feature MSRs that its CPUID
 * denies: they hold nothing of the guest's, and a kernel that reads them to us may not take them (ARCH_CAPABILITIES, Linux 7.3).
 */
export function travellingMsrs(identity: CpuIdentity, listed: readonly number[]): number[] {
  const open = isOpen(identity);
  const own = msrsOf(identity)
    .filter(({ definition: { travels } }) => travels.how === 'always' || (open && travels.how === 'non-reset'))
    .map(({ index }) => index);
  if (!open) return own;
  const denied = new Set(
    msrDictionary()
      .filter(isFeatureMsr)
      .map((definition) => Number(definition.index)),
  );
  for (const { index } of msrsOf(identity)) denied.delete(index);
  return [...new Set([...own, ...listed.filter((index) => !denied.has(index))])].sort((a, b) => a - b);
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
      const length = typeof definition.count === 'number' ? definition.count : 1;
      return Array.from({ length }, (_, i) => [msrIndex(definition, i), depth(definition.index)] as const);
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
