/** An expanded CPU with typed access to its properties: what the table stage reads. */

import type { Register } from '../../corpora/cpuid.js';
import type { CacheDefinitions, CacheSet, PropertyValue } from '../../corpora/definitions.js';
import { type FeatureWord, featureDictionary } from '../../corpora/features.js';
import type { SmpShape } from '../../corpora/identity.js';
import { AMD, HYGON, INTEL, isZhaoxin } from './expand.js';
import type { PropertyMap } from './properties.js';

/** What a pair resolves to before its table is written: the same for all of its vCPUs. */
export class ExpandedCpu {
  readonly properties: PropertyMap;
  readonly smp: SmpShape;
  readonly vendor: string;
  /** Behaviours of the release asked for that differ from the definitions' (ReleaseDeviation ids). */
  readonly behaviours: ReadonlySet<string>;
  readonly #caches: CacheDefinitions;
  readonly #cacheSet: string | undefined;

  /** @param cacheSet name of the model's own cache set, where it has one */
  constructor(
    properties: PropertyMap,
    smp: SmpShape,
    caches: CacheDefinitions,
    cacheSet: string | undefined,
    behaviours: ReadonlySet<string>,
  ) {
    this.properties = properties;
    this.smp = smp;
    this.vendor = properties.get('vendor') as string;
    this.behaviours = behaviours;
    this.#caches = caches;
    this.#cacheSet = cacheSet;
  }

  on(name: string): boolean {
    return this.properties.get(name) === true;
  }

  number(name: string): number {
    return (this.properties.get(name) as number | null | undefined) ?? 0;
  }

  text(name: string): string | null {
    return (this.properties.get(name) as PropertyValue | undefined)?.toString() ?? null;
  }

  /** The features of one CPUID register as its value. */
  word(leaf: number, subleaf: number | null, register: Register): number {
    return wordValue(wordAt(leaf, subleaf, register), this.properties);
  }

  /** Vendors whose CPUID follows AMD's (QEMU, IS_AMD_CPU: by name, so Hygon is none). */
  get isAmd(): boolean {
    return this.vendor === AMD;
  }

  get isIntel(): boolean {
    return this.vendor === INTEL;
  }

  get isZhaoxin(): boolean {
    return isZhaoxin(this.vendor);
  }

  get isHygon(): boolean {
    return this.vendor === HYGON;
  }

  /**
   * The model's own caches, or a legacy set where it has none or `legacy-cache` is on. Machine types up to 10.0 have one such
   * set for each group of leaves; newer ones have one for each vendor.
   */
  caches(leaves: 'leaf-2' | 'leaf-4' | 'amd'): CacheSet {
    const own = this.#cacheSet && !this.on('legacy-cache') ? this.#cacheSet : this.#legacySet(leaves);
    return this.#caches.sets[own]!;
  }

  #legacySet(leaves: 'leaf-2' | 'leaf-4' | 'amd'): string {
    if (leaves === 'leaf-2' && !this.on('x-consistent-cache')) return 'legacy-cpuid-2';
    if (this.on('x-vendor-cpuid-only-v2')) return this.isAmd ? 'legacy-amd' : 'legacy';
    return leaves === 'amd' ? 'legacy-amd' : 'legacy';
  }
}

const words = new Map<string, FeatureWord>();

function wordAt(leaf: number, subleaf: number | null, register: Register): FeatureWord {
  if (!words.size) {
    for (const word of featureDictionary().words) if (word.cpuid) words.set(keyOf(word.cpuid), word);
  }
  return words.get(keyOf({ leaf, subleaf, register }))!;
}

const keyOf = (place: { leaf: number; subleaf: number | null; register: Register }): string =>
  `${place.leaf}.${place.subleaf}.${place.register}`;

function wordValue(word: FeatureWord, properties: PropertyMap): number {
  let value = 0;
  for (const { bit, qemu } of word.features) {
    if (qemu.length && properties.get(qemu[0]!) === true) value |= 1 << bit;
  }
  return value >>> 0;
}
