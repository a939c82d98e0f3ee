/** `host diff`: what changes between two hosts (a kernel update, mostly), by name, and which released pairs it affects. */
import { type CpuidField, fieldName, REGISTERS } from '../../../corpora/cpuid.js';
import type { Definitions } from '../../../corpora/definitions.js';
import { featureName } from '../../../corpora/features.js';
import { hex32, hex64 } from '../../../corpora/hex.js';
import type { HostCapabilities } from '../../../corpora/host-capabilities.js';
import { msrLabel, msrNameAt } from '../../../corpora/msrs.js';
import { isOffered } from '../../../reference-vmm/cpu-model/enforce.js';
import { FEATURE_WORDS, offeredBits } from '../../../reference-vmm/cpu-model/offered.js';
import { listMachines, realModels, resolveCpu } from '../../../reference-vmm/cpu-model/resolve.js';
import type { NamedHost } from './named-host.js';

export type Change = 'added' | 'removed';

export interface FeatureChange {
  readonly feature: string;
  readonly field: string;
  readonly bit: number;
  readonly change: Change;
}
export interface MsrChange {
  readonly msr: string;
  readonly name: string | null;
  readonly change: Change;
}
/** Values are null where the side has none. */
export interface ValueChange {
  readonly name: string;
  readonly before: string | null;
  readonly after: string | null;
}

/** Released pairs (every machine type and model) by where they run unfiltered. */
export interface AffectedPairs {
  readonly onBoth: number;
  readonly onNeither: number;
  readonly onlyBefore: readonly string[];
  readonly onlyAfter: readonly string[];
}

export interface HostDiff {
  readonly before: string;
  readonly after: string;
  /** Kernel, module, CPU. */
  readonly facts: readonly ValueChange[];
  /** What may be exposed to a guest. */
  readonly features: readonly FeatureChange[];
  /** What the kernel shows to every guest, asked or not. */
  readonly additions: readonly FeatureChange[];
  readonly msrs: readonly MsrChange[];
  readonly featureMsrs: readonly ValueChange[];
  /** Registers of the supported table that are no sets of features: levels, sizes, contents. */
  readonly registers: readonly ValueChange[];
  /** Registers of the CPU itself; none where only the kernel changed. */
  readonly cpu: readonly ValueChange[];
  readonly capabilities: readonly ValueChange[];
  readonly moduleParameters: readonly ValueChange[];
  readonly pairs: AffectedPairs;
}

export function hostDiff(before: NamedHost, after: NamedHost, definitions: Definitions): HostDiff {
  const [a, b] = [before.host, after.host];
  const { moduleParameters: before1, ...factsA } = a.facts;
  const { moduleParameters: after1, ...factsB } = b.facts;
  return {
    before: before.id,
    after: after.id,
    facts: valueChanges(factsA, factsB),
    features: featureChanges((field) => [offeredBits(a, field), offeredBits(b, field)]),
    additions: featureChanges((field) => [bitsIn(a.cpuidAdditions, field), bitsIn(b.cpuidAdditions, field)]),
    msrs: msrChanges(a.msrIndices, b.msrIndices),
    featureMsrs: valueChanges(msrValues(a), msrValues(b)),
    registers: registerChanges(a.supportedCpuid, b.supportedCpuid, isFeatureWord),
    cpu: registerChanges(a.hostCpuid, b.hostCpuid, isOwnToVcpu),
    capabilities: valueChanges(a.capabilities, b.capabilities),
    moduleParameters: valueChanges(before1, after1),
    pairs: affectedPairs(a, b, definitions),
  };
}

type Table = HostCapabilities['hostCpuid'];
const bitsIn = (table: Table, { leaf, subleaf, register }: CpuidField): number => table.value(leaf, subleaf, register);

const featureChanges = (valuesOf: (field: CpuidField) => readonly [before: number, after: number]): FeatureChange[] =>
  FEATURE_WORDS.flatMap(([leaf, subleaf, register]) => {
    const field = { leaf, subleaf, register };
    const [before, after] = valuesOf(field);
    return Array.from({ length: 32 }, (_, bit) => bit)
      .filter((bit) => ((before ^ after) >>> bit) & 1)
      .map((bit) => ({
        feature: featureName(field, bit) ?? fieldName(field, bit),
        field: fieldName(field),
        bit,
        change: (after >>> bit) & 1 ? 'added' : 'removed',
      }));
  });

function msrChanges(before: readonly number[], after: readonly number[]): MsrChange[] {
  const change = (from: readonly number[], to: readonly number[], kind: Change): MsrChange[] =>
    from
      .filter((index) => !to.includes(index))
      .map((index) => ({ msr: hex32(index), name: msrNameAt(index), change: kind }));
  return [...change(after, before, 'added'), ...change(before, after, 'removed')].sort((a, b) =>
    a.msr < b.msr ? -1 : 1,
  );
}

const msrValues = ({ featureMsrs }: HostCapabilities): Record<string, string> =>
  Object.fromEntries(featureMsrs.map(({ index, value }) => [msrLabel(index), hex64(value)]));

/** Names with different values, in order. */
function valueChanges(
  before: Readonly<Record<string, string | number | null>>,
  after: Readonly<Record<string, string | number | null>>,
): ValueChange[] {
  const text = (value: string | number | null | undefined): string | null =>
    value === null || value === undefined ? null : String(value);
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .sort()
    .map((name) => ({ name, before: text(before[name]), after: text(after[name]) }))
    .filter((one) => one.before !== one.after);
}

const isFeatureWord = ({ leaf, subleaf, register }: CpuidField): boolean =>
  FEATURE_WORDS.some((word) => word[0] === leaf && word[1] === subleaf && word[2] === register);

/** The APIC id of the processor that was asked. */
const isOwnToVcpu = ({ leaf, register }: CpuidField): boolean =>
  (leaf === 1 && register === 'ebx') || leaf === 0xb || leaf === 0x1f || leaf === 0x8000001e;

/** Registers that differ, but for those that `leftOut` says; a row that one side has not counts as absent. */
function registerChanges(before: Table, after: Table, leftOut: (field: CpuidField) => boolean): ValueChange[] {
  const values = (table: Table): Record<string, string> =>
    Object.fromEntries(
      table.rows.flatMap((row) =>
        REGISTERS.map((register) => ({ leaf: row.leaf, subleaf: row.subleaf, register }))
          .filter((field) => !leftOut(field))
          .map((field) => [`CPUID ${fieldName(field)}`, hex32(row[field.register])]),
      ),
    );
  return valueChanges(values(before), values(after)).filter((one) => !isZero(one.before) || !isZero(one.after));
}

const isZero = (value: string | null): boolean => value === null || value === '0x00000000';

function affectedPairs(before: HostCapabilities, after: HostCapabilities, definitions: Definitions): AffectedPairs {
  const affected = { onBoth: 0, onNeither: 0, onlyBefore: [] as string[], onlyAfter: [] as string[] };
  for (const { name: machine } of listMachines(definitions)) {
    for (const model of realModels(machine, definitions)) {
      const { pair, cpu, expansion } = resolveCpu({ machine, cpu: model, definitions });
      const [a, b] = [before, after].map((host) => isOffered(cpu, expansion.withoutNeeds, host));
      if (a && b) affected.onBoth++;
      else if (a) affected.onlyBefore.push(pair);
      else if (b) affected.onlyAfter.push(pair);
      else affected.onNeither++;
    }
  }
  return affected;
}
