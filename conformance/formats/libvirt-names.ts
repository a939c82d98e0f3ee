/** The feature dictionary in libvirt's spelling, and QEMU's names for messages. */

import { fieldName } from '../../corpora/cpuid.js';
import { builtInDefinitions } from '../../corpora/definitions.js';
import { type Feature, type FeatureDictionary, featureDictionary } from '../../corpora/features.js';
import { hex32 } from '../../corpora/hex.js';
import { VMX_CONTROLS } from '../../reference-vmm/cpu-model/offered-msrs.js';
import type { BitPlace, NameOf } from './difference.js';
import type { FeatureNames, NamedBit } from './names.js';

/** Dictionaries count a VMX control's bits from 0; its MSR has what may be 1 in the upper half (SDM volume 3, A.3), as libvirt's CPU map says. */
const shiftOf = (place: BitPlace): number => ('msr' in place && VMX_CONTROLS.has(place.msr) ? 32 : 0);

const fieldOf = (place: BitPlace): string => ('msr' in place ? hex32(place.msr) : fieldName(place));

/** What QEMU calls a bit, else Linux, else cpuid.csv. */
export const qemuNameOf: NameOf = (place, bit) => {
  const feature = featureDictionary().at(fieldOf(place), bit - shiftOf(place));
  return feature?.qemu[0] ?? feature?.linux ?? feature?.csv ?? null;
};

/** Paravirtual features, which libvirt keeps under <features>, not under <cpu>. */
const isHypervisorLeaf = (place: BitPlace): boolean =>
  'leaf' in place && place.leaf >= 0x40000000 && place.leaf < 0x80000000;

/** The dictionary has libvirt's name where it is known; newer features have QEMU's in libvirt too. */
const spelling = (feature: Feature): string | null => feature.libvirt ?? feature.qemu[0] ?? null;

/** What any version of a model turns on, and what KVM does for every model; null for an unknown model. */
function propertiesEverOn(name: string): string[] | null {
  const definitions = builtInDefinitions();
  const { models, aliases } = definitions.modelIndex;
  const base = (aliases[name] ?? name).replace(/-v\d+$/, '');
  if (!models[base]) return null;
  const model = definitions.model(base);
  const all = [
    model.properties,
    ...model.versions.map(({ properties }) => properties),
    definitions.cpuClass.kvmDefaults,
  ];
  return all.flatMap((properties) =>
    Object.entries(properties).flatMap(([property, value]) => (value === true ? [property] : [])),
  );
}

/** The dictionary of what libvirt calls features. */
export function libvirtNames(dictionary: FeatureDictionary = featureDictionary()): FeatureNames {
  const places = new Map(
    dictionary.words.map((word): [string, BitPlace] => [word.field, word.cpuid ?? { msr: word.msr! }]),
  );
  const spelled = dictionary.words.flatMap(({ features }) => features).filter(({ libvirt }) => libvirt !== undefined);
  const byLibvirt = new Map(spelled.map((feature) => [feature.libvirt!, [feature]]));
  const bitOf = ({ field, bit }: Feature): NamedBit => {
    const place = places.get(field)!;
    return { place, bit: bit + shiftOf(place) };
  };
  return {
    bitsOf: (name) => (byLibvirt.get(name) ?? dictionary.bitsOf(dictionary.canonical(name) ?? name)).map(bitOf),
    nameOf(place, bit) {
      const feature = isHypervisorLeaf(place) ? undefined : dictionary.at(fieldOf(place), bit - shiftOf(place));
      return feature ? spelling(feature) : null;
    },
    featuresOfModel(model) {
      const everOn = propertiesEverOn(model);
      return (
        everOn &&
        new Set(everOn.flatMap((name) => dictionary.bitsOf(name).map(spelling)).filter((name) => name !== null))
      );
    },
  };
}
