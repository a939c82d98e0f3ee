/** QEMU's `feature-words` and `filtered-features`: the registers that hold features, and what stands in them. */
import { fieldName, type Register } from '../../corpora/cpuid.js';
import { featureDictionary } from '../../corpora/features.js';
import type { ExpandedCpu } from '../cpu-model/cpu.js';
import type { FilteredWord } from '../cpu-model/enforce.js';
import { cpuidTables } from '../cpu-model/table.js';

interface Place {
  readonly leaf: number;
  readonly subleaf: number | null;
  readonly register: Register;
}

/** Words whose bits have no names: XSAVE components and a number (QEMU, target/i386/cpu.c, FEAT_XSAVE_XCR0_LO and its like, FEAT_8000_0021_EBX). */
const NAMELESS: readonly Place[] = [
  { leaf: 0xd, subleaf: 0, register: 'eax' },
  { leaf: 0xd, subleaf: 0, register: 'edx' },
  { leaf: 0xd, subleaf: 1, register: 'ecx' },
  { leaf: 0xd, subleaf: 1, register: 'edx' },
  { leaf: 0x80000021, subleaf: null, register: 'ebx' },
];

/** Every CPUID register in which QEMU has a name for a bit. */
function wordPlaces(): Place[] {
  const named = featureDictionary().words.filter(({ features }) => features.some(({ qemu }) => qemu.length > 0));
  return [...named.flatMap(({ cpuid }) => cpuid ?? []), ...NAMELESS];
}

/** What `cpu` has. */
export function featureWords(cpu: ExpandedCpu): FilteredWord[] {
  const table = cpuidTables(cpu)[0]!.cpuid;
  return wordPlaces().map((place) => {
    const { leaf, subleaf, register } = place;
    const told = table.value(leaf, subleaf, register);
    if (NAMELESS.includes(place)) return wordAt(place, told);
    // The bits of 1.EDX that AMD repeats there are features to QEMU.
    const aliases = leaf === 0x80000001 && register === 'edx' ? told : 0;
    return wordAt(place, (cpu.word(leaf, subleaf, register) | aliases) >>> 0);
  });
}

/** What was asked for and is not offered; 0 in the other registers. */
export function filteredFeatures(filtered: readonly FilteredWord[]): FilteredWord[] {
  const missing = new Map(filtered.map((word) => [fieldOf(word), word.features]));
  return wordPlaces().map((place) => wordAt(place, missing.get(fieldName(place)) ?? 0));
}

const fieldOf = (word: FilteredWord): string =>
  fieldName({
    leaf: word['cpuid-input-eax'],
    subleaf: word['cpuid-input-ecx'] ?? null,
    register: word['cpuid-register'].toLowerCase() as Register,
  });

/** QEMU asks for subleaf 0 of a leaf that has no others. */
const APX_LEAF = 0x29;

const wordAt = ({ leaf, subleaf, register }: Place, features: number): FilteredWord => ({
  'cpuid-register': register.toUpperCase() as Uppercase<Register>,
  ...(subleaf === null && leaf !== APX_LEAF ? {} : { 'cpuid-input-ecx': subleaf ?? 0 }),
  'cpuid-input-eax': leaf,
  features,
});
