/** Gives a vCPU its identity: CPUID and MSRs, checked against what the host offers, set, read back and compared before it runs. */
import { type CpuidRow, CpuidTable } from '../corpora/cpuid.js';
import type { HostCapabilities } from '../corpora/host-capabilities.js';
import type { MsrValue, VcpuIdentity } from '../corpora/identity.js';
import { Kept, KeptOf } from '../corpora/kept.js';
import { msrLabel } from '../corpora/msrs.js';
import { type Reason, reason } from '../corpora/verdict.js';
import { derivedTable, POWER_ON } from './cpu-model/derived.js';
import {
  alterations,
  type FeatureNamer,
  type ReasonPlace,
  shortfallNames,
  shortfallReasons,
} from './cpu-model/differences.js';
import { msrsOf } from './cpu-model/msrs.js';
import { type Shortfall, shortfalls } from './cpu-model/offered.js';
import type { Vcpu } from './kvm/kvm.js';
import { KvmError } from './kvm/kvm-error.js';
import { type MsrRefusal, setMsrs } from './snapshot/vcpu-state.js';

export interface RealizeOptions {
  readonly host: HostCapabilities;
  /** Of the identity. */
  readonly features: readonly string[];
  /** Names CPUID bits in reasons: `featureName` of corpora/features. */
  readonly nameOf: FeatureNamer;
  /** For reasons: the step of the scenario. */
  readonly step: string;
  /** Run although the kernel alters the table: the differences are `altered`, not `reasons`. */
  readonly allowAltered?: boolean;
  /** Run although the host does not offer all: the features are `forced`, not `reasons`. */
  readonly forceFeatures?: boolean;
}

/** What came of it. With any reason the vCPU must not run. */
export interface Realization {
  readonly reasons: readonly Reason[];
  /** SET minus GET, under `allowAltered`. */
  readonly altered: readonly Reason[];
  /** Features exposed although not offered, under `forceFeatures`. */
  readonly forced: readonly string[];
  /** MSRs of them, which the kernel does not take at all. */
  readonly absentMsrs: readonly number[];
  /** KVM_GET_CPUID2; null where the kernel would not take the table. */
  readonly readBack: CpuidTable | null;
}

/**
 * Realizes one vCPU of an identity on a vCPU that has not run. All that is wrong is named at once: what is not offered, what the
 * kernel changed, which MSR it would not take.
 */
export function realize(
  vcpu: Vcpu,
  { index, cpuid }: VcpuIdentity,
  msrs: readonly MsrValue[],
  { host, features, nameOf, step, allowAltered = false, forceFeatures = false }: RealizeOptions,
): Realization {
  const place = { step, vcpu: index, nameOf };
  const missing = shortfalls(cpuid, host);
  // Another layout cannot be forced: the guest would save and restore the wrong bytes.
  const forceable = forceFeatures ? missing.filter(({ kind }) => kind !== 'xsave-layout') : [];
  const refused = missing.filter((found) => !forceable.includes(found));
  const reasons = shortfallReasons(refused, place);
  const forced = [...new Set(shortfallNames(forceable, nameOf))];
  try {
    giveCpuid(vcpu, cpuid);
  } catch (error) {
    if (!(error instanceof KvmError)) throw error;
    const refusal = reason({ code: 'cpuid-not-settable', step, vcpu: index, layer: 'kernel', message: error.message });
    return { reasons: [...reasons, refusal], altered: [], forced, absentMsrs: [], readBack: null };
  }
  const readBack = vcpu.getCpuid2();
  const changes = kernelChanges(cpuid, readBack, place);
  const unset = setMsrs(vcpu, msrs, index, step);
  const forceableMsrs = msrsOfShortfalls(forceable, cpuid, features);
  const absent = unset.filter(
    ({ msr, reason: { code } }) => code === 'msr-not-settable' && forceableMsrs.has(msr.index),
  );
  return {
    reasons: [...reasons, ...(allowAltered ? [] : changes), ...reasonsOf(unset, absent)],
    altered: allowAltered ? changes : [],
    forced: [...forced, ...absent.map(({ msr }) => msrLabel(msr.index))],
    absentMsrs: absent.map(({ msr }) => msr.index),
    readBack,
  };
}

/** A kernel that changes tables changes those of most pairs alike. */
const knownChanges = new KeptOf<FeatureNamer, readonly Reason[]>();

/** SET minus GET. */
function kernelChanges(cpuid: CpuidTable, readBack: CpuidTable, place: ReasonPlace): readonly Reason[] {
  const content = [place.step, place.vcpu, cpuid.content, readBack.content].join('|');
  return knownChanges
    .of(place.nameOf)
    .answer(content, () => alterations(derivedTable(cpuid, POWER_ON), readBack, place));
}

const APIC = 1 << 9;
const APIC_BASE_ENABLE = 1n << 11n;

/**
 * KVM_SET_CPUID2 on a vCPU that has not run. KVM shows 1.EDX[9] as the APIC base has it, whatever the table says (Linux
 * arch/x86/kvm/cpuid.c), so a CPU without an APIC has it switched off. Throws `KvmError`.
 */
export function giveCpuid(vcpu: Vcpu, cpuid: CpuidTable): void {
  if ((cpuid.value(1, null, 'edx') & APIC) === 0) {
    const sregs = vcpu.getSregs();
    vcpu.setSregs({ ...sregs, apicBase: sregs.apicBase & ~APIC_BASE_ENABLE });
  }
  vcpu.setCpuid2(cpuid);
}

const reasonsOf = (refusals: readonly MsrRefusal[], forced: readonly MsrRefusal[]): Reason[] =>
  refusals.filter((refusal) => !forced.includes(refusal)).map(({ reason }) => reason);

/** The MSRs that a CPU has because of registers that this host cannot give. */
export function msrsOfShortfalls(
  missing: readonly Shortfall[],
  cpuid: CpuidTable,
  features: readonly string[],
): ReadonlySet<number> {
  if (missing.length === 0) return NONE;
  const lacking = missing.map(({ leaf, subleaf, register, missing: bits }) => `${leaf}.${subleaf}.${register} ${bits}`);
  return knownMsrs.answer([features.join(), lacking.join(), cpuid.content].join('|'), () => {
    const given = new CpuidTable(cpuid.rows.map((row) => withoutBits(row, missing)));
    const without = new Set(indicesOf(given, features));
    return new Set(indicesOf(cpuid, features).filter((index) => !without.has(index)));
  });
}

const NONE: ReadonlySet<number> = new Set();
const knownMsrs = new Kept<ReadonlySet<number>>();

const indicesOf = (cpuid: CpuidTable, features: readonly string[]): number[] =>
  msrsOf({ vcpus: [{ index: 0, apicId: 0, cpuid }], features }).map(({ index }) => index);

function withoutBits(row: CpuidRow, missing: readonly Shortfall[]): CpuidRow {
  const kept = ({ register, missing: bits }: Shortfall) => [register, (row[register] & ~bits) >>> 0] as const;
  const here = missing.filter(({ leaf, subleaf }) => leaf === row.leaf && subleaf === row.subleaf);
  return { ...row, ...Object.fromEntries(here.map(kept)) };
}
