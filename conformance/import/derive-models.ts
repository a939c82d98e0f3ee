/** Derives the CPU class and the CPU models, with their versions, from what releases say. */
import type { CpuClassDefinition, CpuModelDefinition, Properties, PropertyValue } from '../../corpora/definitions.js';
import { featureDictionary } from '../../corpora/features.js';
import { ONE_CPU } from '../../corpora/smp.js';
import { expand } from '../../reference-vmm/cpu-model/expand.js';
import type { Accelerator } from '../../reference-vmm/cpu-model/properties.js';
import type { Release } from './release.js';

type Values = Record<string, PropertyValue>;

/** Models that follow the machine they run on. */
export const HOST_MODELS: ReadonlySet<string> = new Set(['host', 'max']);

/** Properties that show what expansion made of them; unset in the class. */
const AUTOMATIC = ['level', 'level-func7', 'xlevel', 'xlevel2'];

export const isVersioned = (model: string): boolean => /-v\d+$/.test(model);

const releasesWith = (releases: readonly Release[], model: string): Release[] =>
  releases.filter(({ dump }) => dump.models.includes(model));

/** The class: `base` on the newest machine type that knows the property, and what each accelerator sets on top. */
export function deriveClass(releases: readonly Release[]): CpuClassDefinition {
  const dictionary = featureDictionary();
  const properties: Values = {};
  const onlyIn: Record<string, string[]> = {};
  for (const release of releases) {
    const base = release.properties('tcg', release.newest, 'base')!;
    for (const [name, value] of Object.entries(base)) {
      onlyIn[name] = [...(onlyIn[name] ?? []), release.name];
      if (!dictionary.bitsOf(name).length) properties[name] = value;
    }
  }
  for (const name of AUTOMATIC) properties[name] = null;
  properties['hv-vendor-id'] = null;
  const { kvm, tcg } = acceleratorDefaults(releases.at(-1)!);
  return {
    schema: 'guest-abi/cpu-class/1',
    properties: sorted(properties),
    kvmDefaults: kvm,
    tcgDefaults: tcg,
    onlyIn: sorted(Object.fromEntries(Object.entries(onlyIn).filter(([, names]) => names.length < releases.length))),
  };
}

/** A feature that all named models share under one accelerator, though the models differ in it, is that accelerator's. */
function acceleratorDefaults(release: Release): Record<Accelerator, Properties> {
  const dictionary = featureDictionary();
  const models = release.dump.models.filter(isVersioned);
  const seen = (accelerator: Accelerator, name: string): Set<PropertyValue | undefined> =>
    new Set(models.map((model) => release.properties(accelerator, release.newest, model)![name]));
  const found: Record<Accelerator, Values> = { kvm: {}, tcg: {} };
  for (const name of dictionary.names()) {
    const [kvm, tcg] = [seen('kvm', name), seen('tcg', name)];
    if (kvm.size === 1 && !(tcg.size === 1 && [...tcg][0] === [...kvm][0])) found.kvm[name] = [...kvm][0]!;
    else if (tcg.size === 1 && kvm.size > 1) found.tcg[name] = [...tcg][0]!;
  }
  const off = new Set(Object.keys(found.kvm).filter((name) => found.kvm[name] === false));
  for (const { needs, features } of dictionary.dependencies) {
    // What falls with its need is no default of its own.
    if (needs.every((need) => off.has(need))) for (const feature of features) delete found.kvm[feature];
  }
  return { kvm: sorted(found.kvm), tcg: sorted(found.tcg) };
}

/** The models of all releases; a property of a model is what the newest release that has it says. */
export function deriveModels(releases: readonly Release[], cpuClass: CpuClassDefinition): CpuModelDefinition[] {
  const bases = new Set(
    releases.flatMap(({ dump }) => dump.models.filter(isVersioned).map((name) => name.replace(/-v\d+$/, ''))),
  );
  const models = [...bases].map((base) => deriveModel(base, releases, cpuClass));
  return [baseModel(releases), ...models];
}

function baseModel(releases: readonly Release[]): CpuModelDefinition {
  const versions = [{ version: 0, releases: releases.map(({ name }) => name), properties: {} }];
  const schema = 'guest-abi/cpu-model/1';
  return { schema, name: 'base', vendor: '', deprecated: [], properties: {}, versions };
}

function deriveModel(base: string, releases: readonly Release[], cpuClass: CpuClassDefinition): CpuModelDefinition {
  const names = new Set(
    releases.flatMap(({ dump }) => dump.models.filter((name) => name.replace(/-v\d+$/, '') === base)),
  );
  const versioned = [...names].filter(isVersioned).sort((a, b) => numberOf(a) - numberOf(b));
  let before: Values = withoutClass({}, cpuClass);
  let properties: Values | undefined;
  const versions = versioned.map((name) => {
    const with_ = releasesWith(releases, name);
    const now = declared(name, with_.at(-1)!, releases, cpuClass, before);
    const delta = difference(before, now);
    before = now;
    const alias = aliasOf(name, base, with_.at(-1)!);
    const note = with_.at(-1)!.dump.notes?.[name];
    const changes = properties === undefined ? {} : delta;
    properties ??= delta;
    return {
      ...{ version: numberOf(name), releases: with_.map((one) => one.name), ...alias },
      ...(note === undefined ? {} : { note }),
      properties: sorted(changes),
    };
  });
  const { vendor, ...rest } = properties!;
  const deprecated = releases.filter(({ dump }) =>
    dump.defs.some((one) => one.name === versioned[0] && one.deprecated),
  );
  return {
    schema: 'guest-abi/cpu-model/1',
    name: base,
    vendor: vendor as string,
    deprecated: deprecated.map(({ name }) => name),
    properties: sorted(rest),
    versions,
  };
}

const numberOf = (name: string): number => Number(/-v(\d+)$/.exec(name)![1]);

function aliasOf(versioned: string, base: string, release: Release): { alias?: string } {
  const [alias] = Object.entries(release.dump.aliases).find(([name, of]) => of === versioned && name !== base) ?? [];
  return alias === undefined ? {} : { alias };
}

/** What a versioned model declares, before accelerator and machine type. @param before what the version before it does */
function declared(
  name: string,
  release: Release,
  releases: readonly Release[],
  cpuClass: CpuClassDefinition,
  before: Readonly<Values>,
): Values {
  const kvm = release.properties('kvm', release.newest, name)!;
  const tcg = release.properties('tcg', release.newest, name)!;
  const values: Values = {};
  for (const property of Object.keys(kvm)) {
    const [byKvm, byTcg] = [kvm[property]!, tcg[property]!];
    if (property in cpuClass.kvmDefaults || property === 'vendor') values[property] = byTcg;
    else if (property in cpuClass.tcgDefaults) values[property] = byKvm;
    // Expansion only takes features away, and not the same ones under both.
    else values[property] = typeof byKvm === 'boolean' ? byKvm || byTcg : byKvm;
  }
  for (const need of hiddenFeatures(name, releases)) values[need] = true;
  for (const property of AUTOMATIC) delete values[property];
  Object.assign(values, unraisedLevels(name, releases) ?? levelsBefore(before, values, cpuClass));
  delete values.hypervisor;
  return withoutClass(values, cpuClass);
}

/**
 * Features that a model holds but shows only on machine types that switch on what they need: `core2duo` has its VMX controls
 * on those that give it vmx.
 */
function hiddenFeatures(name: string, releases: readonly Release[]): Set<string> {
  const { dependencies } = featureDictionary();
  const unversioned = name.endsWith('-v1') ? [name, name.slice(0, -3)] : [name];
  const shown = new Set<string>();
  for (const release of releases) {
    for (const model of unversioned) {
      for (const machine of Object.keys(release.dump.pairs.kvm)) {
        if (release.dump.machines.includes(machine)) collectShown(release, machine, model, shown);
      }
    }
  }
  const newest = releasesWith(releases, name).at(-1)!;
  const now = newest.properties('tcg', newest.newest, name)!;
  const hidden = new Set<string>(newest.dump.hidden?.[name]);
  for (const { needs, features } of dependencies) {
    if (needs.some((need) => now[need] === true)) continue;
    for (const feature of features) if (shown.has(feature)) hidden.add(feature);
  }
  return hidden;
}

function collectShown(release: Release, machine: string, model: string, shown: Set<string>): void {
  const values = release.properties('kvm', machine, model);
  if (!values) return;
  for (const [name, value] of Object.entries(values)) if (value === true) shown.add(name);
}

const MINIMA = ['min-level', 'min-xlevel', 'min-xlevel2'] as const;

/** Levels as declared: seen where the machine type does not raise them by features; undefined where no release has such a one. */
function unraisedLevels(name: string, releases: readonly Release[]): Values | undefined {
  for (const release of releasesWith(releases, name).reverse()) {
    for (const machine of release.machinesOf('i440fx').reverse()) {
      const values = release.properties('kvm', machine, name);
      if (values?.['full-cpuid-auto-level'] !== false) continue;
      return Object.fromEntries(MINIMA.map((level) => [level, values[level]!]));
    }
  }
  return undefined;
}

/** Levels that a version shows because its features raise those of the version before: it declares the latter. */
function levelsBefore(before: Readonly<Values>, values: Readonly<Values>, cpuClass: CpuClassDefinition): Values {
  if (before['min-level'] === undefined) return {};
  const levels = MINIMA.map((level) => [level, before[level] ?? cpuClass.properties[level]!] as const);
  const raised = new Map(Object.entries({ ...cpuClass.properties, ...values, ...Object.fromEntries(levels) }));
  expand(raised, new Set(), ONE_CPU, 'kvm');
  return Object.fromEntries(levels.filter(([level]) => raised.get(level) === values[level]));
}

function withoutClass(values: Readonly<Values>, cpuClass: CpuClassDefinition): Values {
  const dictionary = featureDictionary();
  const classValue = (name: string): PropertyValue =>
    dictionary.bitsOf(name).length ? false : (cpuClass.properties[name] ?? null);
  return Object.fromEntries(Object.entries(values).filter(([name, value]) => value !== classValue(name)));
}

/** What turns `from` into `to`; a property that `to` lacks goes back to off. */
function difference(from: Readonly<Values>, to: Readonly<Values>): Values {
  const gone = Object.keys(from).filter((name) => !(name in to));
  const changed = Object.entries(to).filter(([name, value]) => from[name] !== value);
  return { ...Object.fromEntries(gone.map((name) => [name, backTo(from[name]!)])), ...Object.fromEntries(changed) };
}

const backTo = (value: PropertyValue): PropertyValue =>
  typeof value === 'boolean' ? !value : typeof value === 'number' ? 0 : '';

export const sorted = <T>(record: Readonly<Record<string, T>>): Record<string, T> =>
  Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
