/** An expanded CPU with typed access to its properties: what the table stage reads. */

import type { Register } from '../../corpora/cpuid.js';
import type { BoardFacts, CacheDefinitions, CacheSet, PropertyValue } from '../../corpora/definitions.js';
import { type FeatureWord, featureDictionary } from '../../corpora/features.js';
import type { SmpShape } from '../../corpora/identity.js';
import { AMD, HYGON, INTEL, isZhaoxin } from './expand.js';
import type { Accelerator, PropertyMap } from './properties.js';
import { apicIdOf, threadsPerModule, threadsPerPackage } from './topology.js';

/** Groups of leaves that describe caches. */
export type CacheLeaves = 'leaf-2' | 'leaf-4' | '80000005' | '8000001d';

export interface CpuParts {
  readonly properties: PropertyMap;
  readonly smp: SmpShape;
  readonly board: BoardFacts;
  /** Who answers CPUID. */
  readonly accelerator: Accelerator;
  readonly behaviours: ReadonlySet<string>;
  readonly caches: CacheDefinitions;
  /** Name of the model's own cache set, where it has one. */
  readonly cacheSet: string | undefined;
}

/** What a pair resolves to before its table is written: the same for all of its vCPUs. */
export class ExpandedCpu {
  readonly properties: PropertyMap;
  readonly smp: SmpShape;
  readonly vendor: string;
  readonly board: BoardFacts;
  readonly accelerator: Accelerator;
  /** Behaviours of the release asked for that differ from the definitions' (ReleaseDeviation ids). */
  readonly behaviours: ReadonlySet<string>;
  readonly #caches: CacheDefinitions;
  readonly #cacheSet: string | undefined;

  constructor({ properties, smp, board, accelerator, behaviours, caches, cacheSet }: CpuParts) {
    this.properties = properties;
    this.smp = smp;
    this.board = board;
    this.accelerator = accelerator;
    this.vendor = properties.get('vendor') as string;
    this.behaviours = behaviours;
    this.#caches = caches;
    this.#cacheSet = cacheSet;
  }

  /** The same CPU with these features off; nothing is expanded anew, as when QEMU filters. */
  without(names: Iterable<string>): ExpandedCpu {
    const properties = new Map(this.properties);
    for (const name of names) properties.set(name, false);
    const { smp, board, accelerator, behaviours } = this;
    const [caches, cacheSet] = [this.#caches, this.#cacheSet];
    return new ExpandedCpu({ properties, smp, board, accelerator, behaviours, caches, cacheSet });
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

  /** The APIC id of vCPU number `index`. */
  apicId(index: number): number {
    return this.board.contiguousApicIds ? index : apicIdOf(this.smp, index);
  }

  /** The features of one CPUID register as its value. */
  word(leaf: number, subleaf: number | null, register: Register): number {
    return wordValue(wordAt(leaf, subleaf, register), this.properties);
  }

  /** Threads of a package as CPUID tells them. */
  get threads(): number {
    return this.behaviours.has('counts-per-die') ? threadsPerModule(this.smp) : threadsPerPackage(this.smp);
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
  caches(leaves: CacheLeaves): CacheSet {
    const own = this.#cacheSet && !this.on('legacy-cache') ? this.#cacheSet : this.#legacySet(leaves);
    return this.#caches.sets[own]!;
  }

  #legacySet(leaves: CacheLeaves): string {
    if (leaves === 'leaf-2' && !this.on('x-consistent-cache')) return 'legacy-cpuid-2';
    const byVendor = leaves === '8000001d' && !this.behaviours.has('amd-caches-in-leaf-8000001d');
    if (byVendor || this.on('x-vendor-cpuid-only-v2')) return this.isAmd ? 'legacy-amd' : 'legacy';
    return leaves === 'leaf-2' || leaves === 'leaf-4' ? 'legacy' : 'legacy-amd';
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
