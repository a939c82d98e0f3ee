/** Pairs that contradict themselves: refused with one clear line before anything is built from them. */
import { InputError } from '../../corpora/errors.js';
import { featureDictionary } from '../../corpora/features.js';
import { hexShort } from '../../corpora/hex.js';
import type { Expansion } from './expand.js';
import type { PropertyMap } from './properties.js';

/** Features that cannot be together, and why. */
const EXCLUSIVE: readonly (readonly [string, string, string])[] = [
  ['mpx', 'apxf', 'both keep their state at one place of the XSAVE area (SDM vol. 1, 13.4)'],
];

/**
 * @param hasOwnCaches the model describes caches of its own
 * Throws `InputError`: `conflicting-features`, `no-own-caches`, and with `enforce` on `feature-without-need` and `level-too-low`.
 */
export function refuseContradictions(
  properties: PropertyMap,
  given: ReadonlySet<string>,
  expansion: Expansion,
  hasOwnCaches: boolean,
): void {
  for (const [one, other, why] of EXCLUSIVE) {
    if (properties.get(one) && properties.get(other)) {
      throw new InputError('conflicting-features', `${one} and ${other} exclude each other: ${why}`, { given: one });
    }
  }
  if (properties.get('legacy-cache') === false && !hasOwnCaches) {
    throw new InputError('no-own-caches', 'legacy-cache=off: this model describes no caches of its own', {
      given: 'legacy-cache=off',
    });
  }
  if (properties.get('enforce')) enforceNeeds(properties, given, expansion);
}

function enforceNeeds(properties: PropertyMap, given: ReadonlySet<string>, { withoutNeeds }: Expansion): void {
  if (withoutNeeds.length > 0) throw withoutNeed(withoutNeeds);
  for (const name of given) {
    const hidden = properties.get(name) === true ? hidingLevel(name, properties) : undefined;
    if (hidden) throw hidden;
  }
}

function withoutNeed(features: readonly string[]): InputError {
  const each = features.map((feature) => {
    const need = featureDictionary().dependencies.find((one) => one.features.includes(feature));
    return `${feature} cannot be on${need ? `: it needs ${need.needs.join(' or ')}` : ''}`;
  });
  return new InputError('feature-without-need', `enforce: ${each.join('; ')}`, { given: features[0]! });
}

/** The error, under `enforce`, where a feature stands in a leaf above the highest one that the guest is told of; else undefined. */
export function hidingLevel(name: string, properties: PropertyMap): InputError | undefined {
  for (const { field } of featureDictionary().bitsOf(name)) {
    const { cpuid } = featureDictionary().word(field)!;
    if (!cpuid || cpuid.leaf >>> 28 === 4) continue;
    const property = cpuid.leaf >= 0xc0000000 ? 'xlevel2' : cpuid.leaf >= 0x80000000 ? 'xlevel' : 'level';
    const level = properties.get(property) as number;
    if (cpuid.leaf > level) {
      const message = `enforce: ${property}=${hexShort(level)} hides leaf ${hexShort(cpuid.leaf)}, where ${name} stands`;
      return new InputError('level-too-low', message, { given: `${property}=${hexShort(level)}` });
    }
  }
  return undefined;
}
