/** Derives machine types: only the compat properties that differ from the next newer one, found by resolving and comparing. */
import type {
  CompatProperty,
  Definitions,
  MachineIndex,
  MachineTypeDefinition,
  Properties,
  PropertyValue,
} from '../../corpora/definitions.js';
import { featureDictionary } from '../../corpora/features.js';
import { ONE_CPU } from '../../corpora/smp.js';
import { expand } from '../../reference-vmm/cpu-model/expand.js';
import { chooseMachine } from '../../reference-vmm/cpu-model/machine.js';
import { findModel } from '../../reference-vmm/cpu-model/model.js';
import {
  type Accelerator,
  baseProperties,
  type PropertyMap,
  propertiesText,
} from '../../reference-vmm/cpu-model/properties.js';
import { HOST_MODELS, isVersioned, sorted } from './derive-models.js';
import { compareVersions, type Release } from './release.js';

/** The machine type that follows the newest and promises nothing. */
const NEXT = 'pc-next';
const ACCELERATORS = ['kvm', 'tcg'] as const;

/** A property that a release gives another value than the newest release with the same pair. */
export interface Deviation {
  readonly releases: readonly string[];
  readonly properties: readonly CompatProperty[];
}

interface DerivedMachines {
  readonly machines: readonly MachineTypeDefinition[];
  readonly machineIndex: MachineIndex;
  readonly deviations: readonly Deviation[];
}

/**
 * @param models definitions with the class and all models; the machine types are put into it as they are found
 * @param carried definitions whose facts stay where QMP tells nothing of them
 */
export function deriveMachines(
  releases: readonly Release[],
  models: Definitions,
  carried?: Definitions,
): DerivedMachines {
  const builder = new MachineBuilder(releases, models, carried);
  builder.add({ ...plain(NEXT, null), follows: true });
  let newer = NEXT;
  for (const name of builder.machinesOf('i440fx').reverse()) {
    builder.derive(plain(name, newer));
    newer = name;
  }
  for (const name of builder.machinesOf('q35')) builder.derive(plain(name, builder.sameCpus(name)));
  for (const name of builder.unversioned()) builder.derive({ ...plain(name, NEXT), follows: true });
  return builder.result();
}

const plain = (name: string, newer: string | null): MachineTypeDefinition => ({
  schema: 'guest-abi/machine-type/1',
  name,
  newer,
  releases: [],
  defaultVersion: 1,
  kvmDefaults: {},
  compat: [],
});

/** One property that is not as expected. */
interface Difference {
  readonly accelerator: Accelerator;
  readonly model: string;
  readonly property: string;
  readonly seen: PropertyValue;
}

/** The models of a machine type whose word is taken from one release: the newest that has them there. */
interface Source {
  readonly release: Release;
  readonly models: readonly string[];
}

class MachineBuilder {
  readonly #releases: readonly Release[];
  readonly #definitions: Definitions;
  readonly #carried: Definitions | undefined;
  readonly #machines: string[] = [];
  /** Release -> what it says otherwise, as found on machine types newer than the one at hand. */
  readonly #deviations = new Map<string, Map<string, CompatProperty>>();
  /** Properties that differ, by what a pair was made of and what its release says of it: machine types have much in common. */
  readonly #compared = new Map<string, readonly string[]>();

  constructor(releases: readonly Release[], definitions: Definitions, carried?: Definitions) {
    this.#releases = releases;
    this.#definitions = definitions;
    this.#carried = carried;
    for (const { name } of releases) this.#deviations.set(name, new Map());
  }

  machinesOf(board: 'i440fx' | 'q35'): string[] {
    return [...new Set(this.#releases.flatMap((release) => release.machinesOf(board)))].sort(compareVersions);
  }

  unversioned(): string[] {
    const names = this.#releases.flatMap(({ dump }) => Object.keys(dump.pairs.kvm));
    return [...new Set(names)].filter((name) => !/\d$/.test(name));
  }

  /** The pc-i440fx machine type of the same version, or of the version before where q35 alone has one (4.0.1). */
  sameCpus(q35: string): string {
    const older = this.machinesOf('i440fx').filter((name) => compareVersions(name, q35) <= 0);
    return older.at(-1)!;
  }

  add(machine: MachineTypeDefinition): void {
    if (!this.#machines.includes(machine.name)) this.#machines.push(machine.name);
    this.#definitions.put(`machine-types/${machine.name}.json`, machine);
    this.#definitions.put('machine-types/index.json', this.#index());
  }

  derive(empty: MachineTypeDefinition): void {
    const { name } = empty;
    const releases = this.#releases.filter(({ dump }) => dump.pairs.kvm[name]);
    const sources = sourcesOf(name, releases);
    const newest = releases.at(-1)!;
    const known = this.#carried?.machineIndex.machines.includes(name) ? this.#carried.machine(name).board : undefined;
    let machine: MachineTypeDefinition = {
      ...empty,
      ...(known ? { board: known } : {}),
      releases: releases.map((one) => one.name),
      defaultVersion: defaultVersionOf(newest, name),
    };
    const settle = (change: Partial<MachineTypeDefinition>): void => {
      machine = { ...machine, ...change };
      this.add(machine);
    };
    settle({});
    settle({ compat: this.#classCompat(newest, name) });
    settle({ kvmDefaults: this.#kvmDefaults(newest, name) });
    // Each round explains differences that no other one explains; what depended on them then vanishes.
    for (let round = 0; round < 8; round++) {
      const found = sources.flatMap(({ release, models }) =>
        this.#explain(this.#differences(release, name, models), release, name),
      );
      if (!found.length) break;
      settle({ compat: [...new Map([...machine.compat, ...found].map((one) => [sortKey(one), one])).values()] });
    }
    settle({ compat: machine.compat.toSorted(byTypeAndName) });
    for (const release of releases) this.#collectDeviations(release, name);
  }

  /** Properties that differ on `base`, which has no features: they are the class's. */
  #classCompat(release: Release, machine: string): CompatProperty[] {
    return this.#differences(release, machine, ['base'])
      .filter(({ accelerator }) => accelerator === 'tcg')
      .map(({ property, seen }) => ({ type: 'x86_64-cpu', property, value: seen }));
  }

  /** What differs under KVM only, on every model: a default that KVM has otherwise here, or not yet. */
  #kvmDefaults(release: Release, machine: string): Properties {
    const models = release.dump.models.filter(isVersioned);
    const differences = this.#differences(release, machine, models);
    const elsewhere = new Set(differences.filter((one) => one.accelerator === 'tcg').map((one) => one.property));
    const before = chooseMachine(this.#definitions, machine).kvmDefaults;
    const found: Record<string, PropertyValue> = {};
    for (const { property } of differences) {
      if (elsewhere.has(property)) continue;
      const values = new Set(models.map((model) => release.properties('kvm', machine, model)![property]));
      if (property in before) found[property] = null;
      else if (values.size === 1 && featureDictionary().bitsOf(property).length) found[property] = [...values][0]!;
    }
    return sorted(found);
  }

  /** Picks the differences that follow from no other one, as entries for the class or for single types. */
  #explain(differences: readonly Difference[], release: Release, machine: string): CompatProperty[] {
    const wrong = new Map<string, Set<string>>();
    for (const { model, property } of differences) wrong.set(model, (wrong.get(model) ?? new Set()).add(property));
    const entries = new Map<string, CompatProperty>();
    for (const { model, property, seen } of differences) {
      if (followsFromOther(property, wrong.get(model)!)) continue;
      const universal = isVersioned(model) && holdsForAll(release, machine, property, seen);
      const type = universal ? 'x86_64-cpu' : `${model}-x86_64-cpu`;
      entries.set(`${type} ${property}`, { type, property, value: seen });
    }
    return [...entries.values()].filter(
      ({ type, property }) => type === 'x86_64-cpu' || !entries.has(`x86_64-cpu ${property}`),
    );
  }

  /** Where resolving with the definitions so far gives something else than the release says. */
  #differences(release: Release, machine: string, models: readonly string[]): Difference[] {
    const found: Difference[] = [];
    const choice = chooseMachine(this.#definitions, machine, release.name);
    const deviations = [{ properties: [...this.#deviations.get(release.name)!.values()] }];
    for (const accelerator of ACCELERATORS) {
      for (const model of models) {
        const chosen = findModel(this.#definitions, choice, model, release.name);
        if (!chosen) throw new Error(`${machine}/${model} of ${release.name} is not in the definitions`);
        const seen = release.properties(accelerator, machine, model)!;
        const parts = [this.#definitions, choice, chosen, accelerator, deviations] as const;
        const hash = release.dump.pairs[accelerator][machine]![model];
        const key = `${release.name} ${hash} ${accelerator} ${propertiesText(...parts)}`;
        let properties = this.#compared.get(key);
        if (!properties) {
          const map = baseProperties(...parts);
          expand(map, new Set(), ONE_CPU, accelerator);
          properties = [...unequal(map, seen, accelerator)];
          this.#compared.set(key, properties);
        }
        for (const property of properties) found.push({ accelerator, model, property, seen: seen[property]! });
      }
    }
    return found;
  }

  #collectDeviations(release: Release, machine: string): void {
    const models = Object.keys(release.dump.pairs.kvm[machine]!).filter((name) => !HOST_MODELS.has(name));
    const known = this.#deviations.get(release.name)!;
    for (const { model, property, seen } of this.#differences(release, machine, models)) {
      const type = `${model}-x86_64-cpu`;
      known.set(`${type} ${property}`, { type, property, value: seen });
    }
  }

  #index(): MachineIndex {
    const all = [...this.machinesOf('i440fx'), ...this.machinesOf('q35'), ...this.unversioned(), NEXT];
    return {
      schema: 'guest-abi/machine-type-index/1',
      machines: all.filter((name) => this.#machines.includes(name)),
      aliases: { pc: this.machinesOf('i440fx').at(-1)!, q35: this.machinesOf('q35').at(-1)! },
      newest: Object.fromEntries(this.#releases.map((release) => [release.name, release.newest])),
    };
  }

  result(): DerivedMachines {
    const deviations = new Map<string, { properties: CompatProperty[]; releases: string[] }>();
    for (const [release, entries] of this.#deviations) {
      const properties = [...entries.values()].sort(byTypeAndName);
      for (const entry of properties) {
        const key = JSON.stringify(entry);
        const known = deviations.get(key) ?? { releases: [], properties: [entry] };
        deviations.set(key, { ...known, releases: [...known.releases, release] });
      }
    }
    const machines = this.#machines.map((name) => this.#definitions.machine(name));
    return { machines, machineIndex: this.#index(), deviations: [...deviations.values()] };
  }
}

/** Newest release first; each model is taken from the first that has it. */
function sourcesOf(machine: string, releases: readonly Release[]): Source[] {
  const taken = new Set<string>(HOST_MODELS);
  return releases.toReversed().map((release) => {
    const models = Object.keys(release.dump.pairs.kvm[machine]!).filter((model) => !taken.has(model));
    for (const model of models) taken.add(model);
    return { release, models };
  });
}

/** Old machine types name no alias; an unversioned one names the last version. */
function defaultVersionOf(release: Release, machine: string): MachineTypeDefinition['defaultVersion'] {
  const pairs = release.dump.pairs.kvm[machine]!;
  const versioned = release.dump.models.filter(isVersioned);
  const second = versioned.filter((name) => name.endsWith('-v2')).map((name) => name.slice(0, -3));
  const isLast = (base: string): boolean =>
    pairs[base] ===
    pairs[
      versioned
        .filter((name) => name.replace(/-v\d+$/, '') === base)
        .sort(compareVersions)
        .at(-1)!
    ];
  if (second.every(isLast)) return 'latest';
  return compareVersions(machine, 'pc-4.1') < 0 ? 'legacy' : 1;
}

/** True where no model of this machine type has another value, so that one entry for the class says it. */
const holdsForAll = (release: Release, machine: string, property: string, value: PropertyValue): boolean =>
  Object.keys(release.dump.pairs.kvm[machine]!)
    .filter((model) => !HOST_MODELS.has(model))
    .every((model) => release.properties('kvm', machine, model)![property] === value);

function* unequal(map: PropertyMap, seen: Readonly<Record<string, PropertyValue>>, accelerator: Accelerator) {
  for (const property in seen) {
    // Under KVM the vendor is the host's.
    if (property === 'vendor' && accelerator === 'kvm') continue;
    if ((map.get(property) ?? false) !== seen[property]) yield property;
  }
}

/** A feature that fell with its need, and a level that rose with a minimum, say nothing of their own. */
function followsFromOther(property: string, wrong: ReadonlySet<string>): boolean {
  if (property === 'level' || property === 'xlevel' || property === 'xlevel2') return wrong.has(`min-${property}`);
  return featureDictionary().dependencies.some(
    ({ needs, features }) => features.includes(property) && needs.some((need) => wrong.has(need)),
  );
}

const byTypeAndName = (a: CompatProperty, b: CompatProperty): number => (sortKey(a) < sortKey(b) ? -1 : 1);

/** The class first, then types by name. */
const sortKey = ({ type, property }: CompatProperty): string => `${type === 'x86_64-cpu' ? '' : type} ${property}`;
