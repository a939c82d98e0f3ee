/** The feature dictionary: where each QEMU feature property stands in CPUID or a feature MSR, and what others call it. */
import { readFileSync } from 'node:fs';
import type { CpuidField, Register } from './cpuid.js';
import { packageFile } from './package-root.js';

/** One bit of a CPUID field or feature MSR. */
export interface Feature {
  /** `7.0.EBX`, or `0x0000010a` for a feature MSR. */
  readonly field: string;
  readonly bit: number;
  /** QEMU's property name, then its aliases; empty where QEMU has no name for the bit. */
  readonly qemu: readonly string[];
  readonly linux?: string;
  readonly libvirt?: string;
  /** Name in x86-cpuid-db's cpuid.csv, as the kernel ships it. */
  readonly csv?: string;
  /** False where QEMU blocks migration of a guest that has it (unless the dimension it depends on is pinned). */
  readonly migratable: boolean;
}

/** A register full of features. */
export interface FeatureWord {
  readonly field: string;
  /** Null for a feature MSR. */
  readonly cpuid: CpuidField | null;
  readonly msr: number | null;
  readonly features: readonly Feature[];
}

/** A feature that is switched off with what it needs (QEMU target/i386/cpu.c, feature_dependencies). */
export interface FeatureDependency {
  /** On as long as one of these is. */
  readonly needs: readonly string[];
  /** QEMU names, canonical. */
  readonly features: readonly string[];
}

interface FeatureJson {
  readonly qemu?: readonly string[];
  readonly linux?: string;
  readonly libvirt?: string;
  readonly csv?: string;
  readonly migratable?: boolean;
}
type WordsJson = Readonly<Record<string, Readonly<Record<string, FeatureJson>>>>;

/** The dictionary of all bits; one instance is enough for a process. */
export class FeatureDictionary {
  readonly words: readonly FeatureWord[];
  /** In the order QEMU applies them. */
  readonly dependencies: readonly FeatureDependency[];
  readonly #byName = new Map<string, Feature[]>();
  readonly #byWord = new Map<string, FeatureWord>();
  /** CPUID words by leaf; their features by bit. */
  readonly #byLeaf = new Map<
    number,
    { readonly field: CpuidField; readonly bits: readonly (Feature | undefined)[] }[]
  >();
  readonly #canonical = new Map<string, string>();

  constructor(words: readonly FeatureWord[], dependencies: readonly DependencyJson[]) {
    this.words = words;
    for (const word of words) {
      this.#byWord.set(word.field, word);
      if (word.cpuid) this.#indexWord(word.cpuid, word.features);
      for (const feature of word.features) this.#index(feature);
    }
    this.dependencies = dependencies.map(({ needs, field, features }) => ({
      needs,
      features: features ?? this.word(field!)!.features.flatMap(({ qemu: [name] }) => name ?? []),
    }));
  }

  #indexWord(field: CpuidField, features: readonly Feature[]): void {
    const bits: (Feature | undefined)[] = Array.from({ length: 32 });
    for (const feature of features) bits[feature.bit] = feature;
    this.#byLeaf.set(field.leaf, [...(this.#byLeaf.get(field.leaf) ?? []), { field, bits }]);
  }

  #index(feature: Feature): void {
    const [name] = feature.qemu;
    if (name === undefined) return;
    this.#byName.set(name, [...(this.#byName.get(name) ?? []), feature]);
    for (const alias of feature.qemu) this.#canonical.set(alias, name);
  }

  /** QEMU's property name for a name or alias as QEMU spells it; undefined where it is not a feature. */
  exactly(name: string): string | undefined {
    return this.#canonical.get(name);
  }

  /** QEMU's property name for a name, alias, or spelling with `_` or `.` for `-`; undefined where it is not a feature. */
  canonical(name: string): string | undefined {
    return this.#canonical.get(name) ?? this.#canonical.get(name.replaceAll(/[_.]/g, '-'));
  }

  /** The bits of a canonical name (kvmclock has two), or none. */
  bitsOf(name: string): readonly Feature[] {
    return this.#byName.get(name) ?? [];
  }

  word(field: string): FeatureWord | undefined {
    return this.#byWord.get(field);
  }

  /** All canonical names. */
  names(): Iterable<string> {
    return this.#byName.keys();
  }

  /** All names a user may write, aliases included. */
  allNames(): Iterable<string> {
    return this.#canonical.keys();
  }

  /** By the field's name. */
  at(field: string, bit: number): Feature | undefined {
    return this.#byWord.get(field)?.features.find((feature) => feature.bit === bit);
  }

  atCpuid({ leaf, subleaf, register }: CpuidField, bit: number): Feature | undefined {
    const words = this.#byLeaf.get(leaf);
    return words?.find(({ field }) => field.subleaf === subleaf && field.register === register)?.bits[bit];
  }
}

interface DependencyJson {
  readonly needs: readonly string[];
  readonly field?: string;
  readonly features?: readonly string[];
}

let dictionary: FeatureDictionary | undefined;

/** The dictionary of `corpora/features/`, read once. */
export function featureDictionary(): FeatureDictionary {
  dictionary ??= new FeatureDictionary(
    [
      ...Object.entries(read<{ cpuid: WordsJson }>('cpuid').cpuid).map(([field, bits]) => cpuidWord(field, bits)),
      ...Object.entries(read<{ msr: WordsJson }>('msr').msr).map(([field, bits]) => msrWord(field, bits)),
    ],
    read<{ dependencies: DependencyJson[] }>('dependencies').dependencies,
  );
  return dictionary;
}

const read = <T>(name: string): T =>
  JSON.parse(readFileSync(packageFile(`corpora/features/${name}.json`), 'utf8')) as T;

function cpuidWord(field: string, bits: Readonly<Record<string, FeatureJson>>): FeatureWord {
  const [, leaf = '', subleaf, register = ''] = /^([0-9A-F]+)(?:\.([0-9A-F]+))?\.(E[A-D]X)$/.exec(field) ?? [];
  const cpuid: CpuidField = {
    leaf: Number.parseInt(leaf, 16),
    subleaf: subleaf === undefined ? null : Number.parseInt(subleaf, 16),
    register: register.toLowerCase() as Register,
  };
  return { field, cpuid, msr: null, features: featuresOf(field, bits) };
}

const msrWord = (field: string, bits: Readonly<Record<string, FeatureJson>>): FeatureWord => ({
  field,
  cpuid: null,
  msr: Number(field),
  features: featuresOf(field, bits),
});

const featuresOf = (field: string, bits: Readonly<Record<string, FeatureJson>>): Feature[] =>
  Object.entries(bits).map(([bit, names]) => ({
    ...names,
    field,
    bit: Number(bit),
    qemu: names.qemu ?? [],
    migratable: names.migratable ?? true,
  }));

/** Bits of 80000001.EDX that repeat 1.EDX on AMD (APM vol. 3, E.4.2): nobody names them apart. */
const AMD_ALIASES = 0x0183f3ff;

/** What QEMU, libvirt, Linux and cpuid.csv call a CPUID bit; null where they have no name. Undefined where nobody has one. */
export interface BitNames {
  readonly qemu: string | null;
  readonly libvirt: string | null;
  readonly linux: string | null;
  readonly csv: string | null;
}

export function bitNames(field: CpuidField, bit: number): BitNames | undefined {
  const feature = featureAt(field, bit);
  if (!feature) return undefined;
  const { qemu, libvirt = null, linux = null, csv = null } = feature;
  return { qemu: qemu[0] ?? null, libvirt, linux, csv };
}

function featureAt({ leaf, subleaf, register }: CpuidField, bit: number): Feature | undefined {
  const alias = leaf === 0x80000001 && register === 'edx' && ((AMD_ALIASES >>> bit) & 1) === 1;
  return featureDictionary().atCpuid({ leaf: alias ? 1 : leaf, subleaf, register }, bit);
}

/** The name of a CPUID bit for messages: QEMU's, else Linux's, libvirt's or cpuid.csv's; undefined where nobody names it. */
export function featureName(field: CpuidField, bit: number): string | undefined {
  const feature = featureAt(field, bit);
  return feature && (feature.qemu[0] ?? feature.linux ?? feature.libvirt ?? feature.csv);
}
