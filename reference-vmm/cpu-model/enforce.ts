/** What a CPU asks of a host and does not get: QEMU's `enforce`, `check` and filtering, over any host capabilities. */
import { fieldName, type Register } from '../../corpora/cpuid.js';
import { featureDictionary, featureName } from '../../corpora/features.js';
import { hex32 } from '../../corpora/hex.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { type Layer, type Reason, reason } from '../../corpora/verdict.js';
import type { ExpandedCpu } from './cpu.js';
import { shortfallReasons } from './differences.js';
import { type Shortfall, shortfalls } from './offered.js';
import { offeredMsrBit } from './offered-msrs.js';
import { cpuidTables } from './table.js';
import { componentFeatures } from './xsave.js';

/** An entry of QEMU's `filtered-features` (qapi/machine-target, X86CPUFeatureWordInfo): what was asked for and not given. */
export interface FilteredWord {
  readonly 'cpuid-input-eax': number;
  readonly 'cpuid-input-ecx'?: number;
  readonly 'cpuid-register': Uppercase<Register>;
  readonly features: number;
}

/** What a host lacks for a CPU. Nothing of it: `enforce` accepts. */
export interface Lacks {
  readonly reasons: readonly Reason[];
  /** QEMU's `unavailable-features`: property names, each once, in the order of the reasons. */
  readonly unavailable: readonly string[];
  readonly filtered: readonly FilteredWord[];
}

export const STEP = 'enforce';

/**
 * Everything that `host` lacks for `cpu`.
 * @param withoutNeeds features that the user gave and that fell for want of others (`Expansion`): QEMU's enforce refuses them too
 */
export function lacksOf(cpu: ExpandedCpu, withoutNeeds: readonly string[], host: HostCapabilities): Lacks {
  const found = shortfalls(cpuidTables(cpu)[0]!.cpuid, host);
  const msrs = msrLacks(cpu, host);
  const needs = withoutNeeds.map(needsReason);
  return {
    reasons: [...shortfallReasons(found, { step: STEP, vcpu: 0, nameOf: featureName }), ...msrs, ...needs],
    unavailable: [
      ...new Set([...found.flatMap((one) => featuresBehind(one, cpu)), ...msrs.map(nameIn), ...withoutNeeds]),
    ],
    filtered: found.filter(({ kind }) => kind === 'feature').map(filteredWord),
  };
}

const nameIn = ({ feature }: Reason): string => feature!;

/** True where `host` gives all of `cpu`. */
export const isOffered = (cpu: ExpandedCpu, withoutNeeds: readonly string[], host: HostCapabilities): boolean =>
  withoutNeeds.length === 0 &&
  msrLacks(cpu, host).length === 0 &&
  shortfalls(cpuidTables(cpu)[0]!.cpuid, host).length === 0;

/** A CPU as a host can give it. */
export interface Filtered {
  readonly cpu: ExpandedCpu;
  /** Features switched off. */
  readonly removed: readonly string[];
}

/**
 * Switches off what `host` does not offer, until all that is left is offered, or is in `keep`. Levels stay as they were expanded, and
 * dependencies are not applied anew (QEMU, x86_cpu_filter_features). What no feature stands for (more physical address bits
 * than the CPU has) is left in: `lacksOf` names it.
 */
export function filterCpu(
  cpu: ExpandedCpu,
  host: HostCapabilities,
  keep: ReadonlySet<string> = new Set<string>(),
): Filtered {
  const removed: string[] = [];
  for (let left = cpu; ; ) {
    const names = [
      ...shortfalls(cpuidTables(left)[0]!.cpuid, host).flatMap((one) => featuresBehind(one, left)),
      ...msrLacks(left, host).map(nameIn),
    ].filter((name) => left.on(name) && !keep.has(name));
    if (names.length === 0) return { cpu: left, removed };
    removed.push(...new Set(names));
    left = left.without(names);
  }
}

/** Leaves that a feature (or the PMU) brings in. */
const LEAF_FEATURES: Readonly<Record<number, string>> = {
  10: 'pmu',
  18: 'sgx',
  20: 'intel-pt',
  28: 'arch-lbr',
  29: 'amx-tile',
  30: 'amx-tile',
  36: 'avx10',
};

/** The features of `cpu` that a shortfall comes from, by QEMU's names. */
function featuresBehind(found: Shortfall, cpu: ExpandedCpu): string[] {
  const { kind, leaf, subleaf } = found;
  if (kind === 'xsave-layout') return componentFeatures(subleaf!).filter((name) => cpu.on(name));
  if (kind === 'content') return leaf in LEAF_FEATURES ? [LEAF_FEATURES[leaf]!] : [];
  return bitsOf(found.missing).flatMap((bit) => featuresOfBit(found, bit, cpu));
}

function featuresOfBit({ leaf, subleaf, register }: Shortfall, bit: number, cpu: ExpandedCpu): string[] {
  // Of leaf 0xD the components of XCR0 and IA32_XSS.
  if (leaf === 0xd && (subleaf === 0 || register === 'ecx')) {
    return componentFeatures(register === 'edx' ? bit + 32 : bit).filter((name) => cpu.on(name));
  }
  const named = nameAt(leaf, subleaf, register, bit);
  // AMD repeats the bits of 1.EDX there.
  const alias = leaf === 0x80000001 && register === 'edx' ? nameAt(1, null, 'edx', bit) : undefined;
  return [named ?? alias ?? []].flat();
}

const nameAt = (leaf: number, subleaf: number | null, register: Register, bit: number): string | undefined =>
  featureDictionary().at(fieldName({ leaf, subleaf, register }), bit)?.qemu[0];

const bitsOf = (word: number): number[] =>
  Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => (word >>> bit) & 1);

const filteredWord = ({ leaf, subleaf, register, missing }: Shortfall): FilteredWord => ({
  'cpuid-input-eax': leaf,
  ...(subleaf === null ? {} : { 'cpuid-input-ecx': subleaf }),
  'cpuid-register': register.toUpperCase() as Uppercase<Register>,
  features: missing,
});

/** Features of feature MSRs (arch-capabilities, VMX) whose bits KVM does not list. */
function msrLacks(cpu: ExpandedCpu, host: HostCapabilities): Reason[] {
  return featureDictionary().words.flatMap(({ msr, features }) =>
    msr === null
      ? []
      : features
          .filter(({ bit, qemu: [name] }) => name !== undefined && cpu.on(name) && !offeredMsrBit(host, msr, bit))
          .map(({ bit, qemu: [name] }) => msrReason(msr, bit, name!, host)),
  );
}

function msrReason(msr: number, bit: number, feature: string, host: HostCapabilities): Reason {
  return reason({
    ...{ code: 'msr-feature-not-offered', step: STEP, vcpu: 0, msr: hex32(msr), bit, feature },
    ...{ contract: '1', guest: '0', layer: msrLayer(msr, host) },
    message: `MSR ${hex32(msr)}[${bit}] (${feature}): contract 1, host offers 0`,
  });
}

const VMX_MSRS = { first: 0x480, last: 0x491 };
const VMX = 1 << 5;

/** A capture holds what KVM says of a feature MSR, not what the CPU has: only a CPU without VMX tells. */
const msrLayer = (msr: number, { hostCpuid }: HostCapabilities): Layer | null =>
  msr >= VMX_MSRS.first && msr <= VMX_MSRS.last && !(hostCpuid.value(1, null, 'ecx') & VMX) ? 'host-cpu' : null;

const needsReason = (feature: string): Reason => {
  const needs = featureDictionary()
    .dependencies.filter(({ features }) => features.includes(feature))
    .map(({ needs }) => needs.join(' or '));
  return reason({
    ...{ code: 'feature-needs', step: STEP, vcpu: 0, feature, contract: '1', guest: '0', layer: 'monitor' },
    message: `${feature} needs ${needs.join(', ')}, which this CPU does not have`,
  });
};
