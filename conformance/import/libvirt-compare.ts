/** libvirt's models against ours of the same name, feature by feature, by bits and not by spelling. */
import type { Definitions } from '../../corpora/definitions.js';
import { type Feature, featureDictionary } from '../../corpora/features.js';
import type { BitName, LibvirtMap } from './libvirt-map.js';

/** How one model differs; names as each side spells them. */
export interface ModelDisagreement {
  readonly model: string;
  readonly onlyLibvirt: readonly string[];
  /** Of the features that libvirt knows at all. */
  readonly onlyOurs: readonly string[];
}

export interface LibvirtComparison {
  /** Models of one name that have the same features. */
  readonly agreeing: readonly string[];
  readonly disagreeing: readonly ModelDisagreement[];
  readonly modelsOnlyLibvirt: readonly string[];
  readonly modelsOnlyOurs: readonly string[];
  /** libvirt's features whose bits no feature of ours has. */
  readonly featuresOnlyLibvirt: readonly string[];
  /** Ours, migratable ones of CPUID and feature MSRs, whose bits no feature of libvirt's has. */
  readonly featuresOnlyOurs: readonly string[];
}

const bitOf = ({ field, bit }: Feature): BitName => `${field}[${bit}]`;
/** Paravirtual features are no part of libvirt's models. */
const isParavirtual = ({ field }: Feature): boolean => field.startsWith('4000');

export function compareWithLibvirt(map: LibvirtMap, definitions: Definitions): LibvirtComparison {
  const ours = featureDictionary().words.flatMap(({ features }) => features.filter(({ qemu }) => qemu.length > 0));
  const known = new Set(ours.map(bitOf));
  const theirs = new Set([...map.features.values()].flat());
  const names = ourModels(definitions);
  const pairs = [...map.models.keys()]
    .filter((name) => names.has(name))
    .map((name) => compareModel(name, map, theirs, definitions));
  return {
    agreeing: pairs.filter(agrees).map(({ model }) => model),
    disagreeing: pairs.filter((pair) => !agrees(pair)),
    modelsOnlyLibvirt: [...map.models.keys()].filter((name) => !names.has(name)),
    modelsOnlyOurs: [...names].filter((name) => !map.models.has(name)),
    featuresOnlyLibvirt: [...map.features]
      .filter(([, bits]) => !bits.some((bit) => known.has(bit)))
      .map(([name]) => name),
    featuresOnlyOurs: ours
      .filter((feature) => !isParavirtual(feature) && !theirs.has(bitOf(feature)))
      .map(({ qemu }) => qemu[0]!),
  };
}

const agrees = ({ onlyLibvirt, onlyOurs }: ModelDisagreement): boolean => onlyLibvirt.length + onlyOurs.length === 0;

/** Base names, aliases and versions; libvirt has the versions too since 11.0. */
function ourModels(definitions: Definitions): Set<string> {
  const { models, aliases } = definitions.modelIndex;
  const bases = Object.keys(models).filter((name) => name !== 'base');
  const versions = bases.flatMap((base) =>
    definitions.model(base).versions.map(({ version }) => `${base}-v${version}`),
  );
  return new Set([...bases, ...Object.keys(aliases), ...versions]);
}

function compareModel(
  model: string,
  { features, models }: LibvirtMap,
  theirs: ReadonlySet<BitName>,
  definitions: Definitions,
): ModelDisagreement {
  const dictionary = featureDictionary();
  const named = propertiesOn(model, definitions).flatMap((name) =>
    dictionary.bitsOf(dictionary.canonical(name) ?? name),
  );
  const ourBits = new Set(named.map(bitOf));
  const theirNames = [...models.get(model)!.features];
  const theirBits = new Set(theirNames.flatMap((name) => features.get(name) ?? []));
  return {
    model,
    onlyLibvirt: theirNames.filter((name) => !(features.get(name) ?? []).some((bit) => ourBits.has(bit))).sort(),
    onlyOurs: [
      ...new Set(
        named
          .filter((feature) => theirs.has(bitOf(feature)) && !theirBits.has(bitOf(feature)))
          .map(({ qemu }) => qemu[0]!),
      ),
    ].sort(),
  };
}

/** Features that the model's definition turns on: a base name is its first version, an alias the version that it stands for. */
function propertiesOn(name: string, definitions: Definitions): string[] {
  const { models, aliases } = definitions.modelIndex;
  const versioned = aliases[name] ?? (models[name] ? `${name}-v1` : name);
  const [, base = name, version = '1'] = /^(.*)-v(\d+)$/.exec(versioned) ?? [];
  const model = definitions.model(base);
  const properties = Object.assign(
    {},
    model.properties,
    ...model.versions.filter((one) => one.version <= Number(version)).map((one) => one.properties),
  ) as Readonly<Record<string, unknown>>;
  return Object.entries(properties).flatMap(([property, value]) => (value === true ? [property] : []));
}
