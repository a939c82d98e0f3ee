/** Expansion: features that follow from others, and levels that follow from features (QEMU, x86_cpu_expand_features). */

import { type FeatureDictionary, featureDictionary } from '../../corpora/features.js';
import type { SmpShape } from '../../corpora/identity.js';
import type { Accelerator, PropertyMap } from './properties.js';
import { hasExtendedTopology, threadsPerModule, threadsPerPackage } from './topology.js';

export const INTEL = 'GenuineIntel';
export const AMD = 'AuthenticAMD';
export const HYGON = 'HygonGenuine';
/** Zhaoxin's two names. */
const ZHAOXIN: ReadonlySet<string> = new Set(['  Shanghai  ', 'CentaurHauls']);

export const isZhaoxin = (vendor: string): boolean => ZHAOXIN.has(vendor);

/** What QEMU would tell `enforce` beside the host's lacks: features asked for whose needs were not. */
export interface Expansion {
  readonly withoutNeeds: readonly string[];
}

/** Fields whose features raise a level, with full-cpuid-auto-level; 7.0.EBX does so always. */
const RAISING_FIELDS = [
  '1.EDX',
  '1.ECX',
  '6.EAX',
  '7.0.ECX',
  '7.1.EAX',
  '7.1.ECX',
  '7.1.EDX',
  '7.2.EDX',
  '80000001.EDX',
  '80000001.ECX',
  '80000007.EDX',
  '80000008.EBX',
  'C0000001.EDX',
  '8000000A.EDX',
  'D.1.EAX',
  '80000021.EAX',
];

/**
 * Expands a property map in place.
 * @param given names that the user set: one that falls for want of what it needs is reported
 * @param behaviours what the release asked for does otherwise
 */
export function expand(
  map: PropertyMap,
  given: ReadonlySet<string>,
  smp: SmpShape,
  accelerator: Accelerator,
  behaviours: ReadonlySet<string> = new Set(),
): Expansion {
  const dictionary = featureDictionary();
  const late = behaviours.has('smp-bits-after-levels');
  if (!late) setSmpBits(map, threadsPerPackage(smp), behaviours);
  dropWithoutPmu(map, behaviours);
  const withoutNeeds = applyDependencies(map, given, dictionary);
  if (accelerator !== 'kvm' || !map.get('kvm')) {
    for (const { qemu } of dictionary.word('40000001.EAX')!.features) if (qemu[0]) map.set(qemu[0], false);
  }
  const withoutLevel = raiseLevels(map, smp, dictionary);
  if (late) setSmpBits(map, threadsPerModule(smp), behaviours);
  return { withoutNeeds: [...withoutNeeds, ...withoutLevel] };
}

/** What the PMU records and tells goes with it. */
function dropWithoutPmu(map: PropertyMap, behaviours: ReadonlySet<string>): void {
  if (map.get('pmu')) return;
  if (!map.get('x-pdcm-on-even-without-pmu')) map.set('pdcm', false);
  if (!behaviours.has('arch-lbr-without-pmu')) map.set('arch-lbr', false);
}

function setSmpBits(map: PropertyMap, threads: number, behaviours: ReadonlySet<string>): void {
  if (threads < 2) return;
  map.set('ht', true);
  const vendor = map.get('vendor') as string;
  // Linux discards thread information where it sees this bit on Intel (QEMU, the same place).
  const without = vendor === INTEL || (isZhaoxin(vendor) && !behaviours.has('cmp-legacy-on-zhaoxin'));
  if (!without) map.set('cmp-legacy', true);
}

function applyDependencies(map: PropertyMap, given: ReadonlySet<string>, dictionary: FeatureDictionary): string[] {
  const lost: string[] = [];
  for (const { needs, features } of dictionary.dependencies) {
    if (needs.some((need) => map.get(need) === true)) continue;
    for (const feature of features) {
      if (map.get(feature) !== true) continue;
      map.set(feature, false);
      if (given.has(feature)) lost.push(feature);
    }
  }
  return lost;
}

/** Returns features that fell because the level is too low for them. */
function raiseLevels(map: PropertyMap, smp: SmpShape, dictionary: FeatureDictionary): string[] {
  const levels = new Levels(map);
  levels.raiseByField('7.0.EBX', dictionary);
  const lost = map.get('full-cpuid-auto-level') === false ? [] : raiseFully(map, smp, levels, dictionary);
  levels.settle();
  return lost;
}

function raiseFully(map: PropertyMap, smp: SmpShape, levels: Levels, dictionary: FeatureDictionary): string[] {
  const vendor = map.get('vendor') as string;
  const lost: string[] = [];
  for (const field of RAISING_FIELDS) levels.raiseByField(field, dictionary);
  if (map.get('intel-pt')) {
    if (map.get('x-intel-pt-auto-level') !== false) levels.raise(0x14);
    else if ((map.get('min-level') as number) < 0x14) {
      // What is forced stays all the same (QEMU, mark_unavailable_features).
      if (!map.get('x-force-features')) map.set('intel-pt', false);
      lost.push('intel-pt');
    }
  }
  const has1f = hasExtendedTopology(smp) || map.get('x-force-cpuid-0x1f') === true;
  if (has1f && (vendor === INTEL || !map.get('x-vendor-cpuid-only'))) levels.raise(0x1f);
  if (map.get('avx10')) levels.raise(0x24);
  if (map.get('apxf')) levels.raise(0x29);
  if (map.get('svm')) levels.raise(0x8000000a);
  if (map.get('sgx')) levels.raise(0x12);
  return lost;
}

/** The minimum levels of a map while they rise. */
class Levels {
  readonly #map: PropertyMap;
  #func7 = 0;

  constructor(map: PropertyMap) {
    this.#map = map;
  }

  raise(leaf: number): void {
    const name = leaf >= 0xc0000000 ? 'min-xlevel2' : leaf >= 0x80000000 ? 'min-xlevel' : 'min-level';
    if ((this.#map.get(name) as number) < leaf) this.#map.set(name, leaf);
  }

  /** Raises by the leaf of a field where any of its features is on. */
  raiseByField(field: string, dictionary: FeatureDictionary): void {
    const word = dictionary.word(field)!;
    if (!word.features.some(({ qemu: [name] }) => name !== undefined && this.#map.get(name) === true)) return;
    const { leaf, subleaf } = word.cpuid!;
    this.raise(leaf);
    if (leaf === 7) this.#func7 = Math.max(this.#func7, subleaf ?? 0);
  }

  /** Levels that were not given take the minimum. */
  settle(): void {
    const automatic = [
      ['level-func7', this.#func7],
      ['level', this.#map.get('min-level')],
      ['xlevel', this.#map.get('min-xlevel')],
      ['xlevel2', this.#map.get('min-xlevel2')],
    ] as const;
    for (const [name, minimum] of automatic) if (this.#map.get(name) === null) this.#map.set(name, minimum!);
  }
}
