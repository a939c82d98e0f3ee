/** Definitions: CPU models and machine types in QEMU's terms, read from their files only when asked for. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type PropertyValue, parseDefinition } from './definition-text.js';
import { unknownName } from './errors.js';
import { featureDictionary } from './features.js';
import { packageFile } from './package-root.js';
import { badFile, checkCorporaFile } from './schema/corpora-files.js';

export type { PropertyValue } from './definition-text.js';

export type Properties = Readonly<Record<string, PropertyValue>>;

/** The class `x86_64-cpu`: every property that is not a feature bit, with its default. */
export interface CpuClassDefinition {
  readonly schema: 'guest-abi/cpu-class/1';
  readonly properties: Properties;
  /** What KVM sets on every named model, after the model and before the machine type. */
  readonly kvmDefaults: Properties;
  /** What TCG sets likewise. */
  readonly tcgDefaults: Properties;
  /** Properties that not every release has: name -> those that have it. */
  readonly onlyIn: Readonly<Record<string, readonly string[]>>;
}

/** One version of a model: what it changes against the version before it. */
export interface CpuModelVersion {
  readonly version: number;
  /** Releases that have this version. */
  readonly releases: readonly string[];
  /** Another name that always means this version. */
  readonly alias?: string;
  /** What QEMU notes of it where it lists its models: `no TSX`. */
  readonly note?: string;
  readonly properties: Properties;
}

/** A CPU model: its base and its versions, oldest first. */
export interface CpuModelDefinition {
  readonly schema: 'guest-abi/cpu-model/1';
  readonly name: string;
  /** 12 characters, or empty for `base`. */
  readonly vendor: string;
  /** Releases that call it deprecated. */
  readonly deprecated: readonly string[];
  readonly properties: Properties;
  readonly versions: readonly CpuModelVersion[];
}

/** A compat property: binds to all CPUs (`x86_64-cpu`) or to one type (`Nehalem-x86_64-cpu`: not to `Nehalem-v1`). */
export interface CompatProperty {
  readonly type: string;
  readonly property: string;
  readonly value: PropertyValue;
}

/** Which version an unversioned model name means: none (the base, and no alias is reported), a number, or the last. */
export type DefaultVersion = 'legacy' | 'latest' | number;

/** Facts of a machine type that are no CPU properties. */
export interface BoardFacts {
  /** vCPU n has APIC id n, whatever the topology (QEMU hw/i386/x86.c, compat_apic_id_mode). */
  readonly contiguousApicIds?: boolean;
  /** `-smp 8` means 8 sockets, not 8 cores (QEMU hw/core/machine-smp.c, prefer_sockets). */
  readonly prefersSockets?: boolean;
  /** `-smp` takes so many (QEMU tells it in query-machines: cpu-max). */
  readonly maxCpus?: number;
  /** `-smp` takes neither dies nor modules (QEMU hw/i386/microvm.c sets no smp_props). */
  readonly withoutDies?: boolean;
}

/** A machine type: what differs from the next newer one. */
export interface MachineTypeDefinition {
  readonly schema: 'guest-abi/machine-type/1';
  readonly name: string;
  /** The next newer machine type; null for the newest. */
  readonly newer: string | null;
  /** Releases that have it, oldest first: the oldest one's word is the contract. */
  readonly releases: readonly string[];
  readonly defaultVersion: DefaultVersion;
  readonly compat: readonly CompatProperty[];
  /** KVM's defaults that are other here; null takes one back, so that the model's own value stands. */
  readonly kvmDefaults: Properties;
  /** What QEMU does not tell over QMP; holds for older machine types too. */
  readonly board?: BoardFacts;
  /** True where QEMU promises nothing: the CPUs follow the newest machine type (of the release that is asked for). */
  readonly follows?: boolean;
}

/** What some releases do otherwise than the definitions say; at most twenty of them. */
export interface ReleaseDeviation {
  /** Names a behaviour of the code too, where it is one. */
  readonly id: string;
  /** Where it is how this accelerator answers CPUID, which machine types promise nothing of; absent: under every one. */
  readonly accelerator?: 'tcg';
  /** Where only features that are forced (`x-force-features`) show it: nothing is promised of those either. */
  readonly forced?: true;
  /** Where only a QEMU under test shows it: contracts hold what later releases show. */
  readonly subject?: true;
  /** Where machine types do not hold it: contracts have it by their release, a QEMU under test by its own. A disagreement that is known, and told as evidence. */
  readonly unpromised?: true;
  readonly releases: readonly string[];
  /** QEMU's commit that ended it, or that it begins with where that is said: 12 digits of the hash, the title in parentheses. */
  readonly commit: string;
  readonly why: string;
  /** What the releases had; they count as properties of the model, before the machine type's. */
  readonly properties?: readonly CompatProperty[];
}

/** One cache as QEMU describes it. */
export interface CacheInfo {
  readonly type: 'data' | 'instruction' | 'unified';
  readonly level: number;
  /** In KiB. */
  readonly size: number;
  readonly lineSize: number;
  readonly associativity: number;
  readonly partitions: number;
  readonly sets: number;
  readonly linesPerTag: number;
  readonly selfInit: boolean;
  readonly noInvdSharing: boolean;
  readonly inclusive: boolean;
  readonly complexIndexing: boolean;
  readonly share: 'core' | 'module' | 'die' | 'socket';
}

export interface CacheSet {
  readonly l1d: CacheInfo;
  readonly l1i: CacheInfo;
  readonly l2: CacheInfo;
  readonly l3: CacheInfo | null;
}

/** `corpora/cpu-models/caches.json`: the cache sets, and which versioned model has which. */
export interface CacheDefinitions {
  readonly schema: 'guest-abi/caches/1';
  readonly sets: Readonly<Record<string, CacheSet>>;
  /** `EPYC-v4` -> name of a set. */
  readonly models: Readonly<Record<string, string>>;
}

export interface ModelIndex {
  readonly schema: 'guest-abi/cpu-model-index/1';
  /** Base name -> file below `cpu-models/`. */
  readonly models: Readonly<Record<string, string>>;
  /** Alias -> versioned name: `Haswell-noTSX` -> `Haswell-v2`. */
  readonly aliases: Readonly<Record<string, string>>;
}

export interface MachineIndex {
  readonly schema: 'guest-abi/machine-type-index/1';
  /** Oldest first, pc before q35. */
  readonly machines: readonly string[];
  /** QEMU's `pc` and `q35`. */
  readonly aliases: Readonly<Record<string, string>>;
  /** Release -> its newest machine type: what an unversioned one (`microvm`) gives there. */
  readonly newest: Readonly<Record<string, string>>;
}

const BUILT_IN = packageFile('corpora');

/** The definitions of one or several corpora folders; the later folder wins file by file. */
export class Definitions {
  readonly #folders: readonly string[];
  /** The lowest folder: complete, and held to its form when it was made. */
  readonly #ground: string;
  readonly #files = new Map<string, unknown>();
  /** By name or alias: each pair asks for a whole chain. */
  readonly #machines = new Map<string, MachineTypeDefinition>();

  /**
   * @param folders corpora folders beside or over the lowest one
   * @param ground what they lie on: the built-in folder, or another state of it
   */
  constructor(folders: readonly string[] = [], ground: string = BUILT_IN) {
    this.#folders = [ground, ...folders].reverse();
    this.#ground = ground;
  }

  /** Takes a file as read, or read again as this. */
  put(path: string, value: unknown): void {
    this.#files.set(path, value);
    this.#machines.clear();
  }

  /** The same folders with these files otherwise. */
  changed(files: Iterable<readonly [path: string, value: unknown]>): Definitions {
    const [ground, ...folders] = [...this.#folders].reverse();
    const copy = new Definitions(folders, ground);
    for (const [path, value] of this.#files) if (!path.startsWith('merged:')) copy.put(path, value);
    for (const [path, value] of files) copy.put(path, value);
    return copy;
  }

  get cpuClass(): CpuClassDefinition {
    return this.#read('cpu-models/x86_64-cpu.json');
  }

  get caches(): CacheDefinitions {
    return this.#read('cpu-models/caches.json');
  }

  get deviations(): readonly ReleaseDeviation[] {
    return this.#read<{ deviations: ReleaseDeviation[] }>('machine-types/deviations.json').deviations;
  }

  /** The index of models, of all folders together. */
  get modelIndex(): ModelIndex {
    return this.#merged('cpu-models/index.json', (all: ModelIndex[]) => ({
      schema: 'guest-abi/cpu-model-index/1',
      models: Object.assign({}, ...all.map(({ models }) => models)),
      aliases: Object.assign({}, ...all.map(({ aliases }) => aliases)),
    }));
  }

  get machineIndex(): MachineIndex {
    return this.#merged('machine-types/index.json', (all: MachineIndex[]) => ({
      schema: 'guest-abi/machine-type-index/1',
      machines: [...new Set(all.flatMap(({ machines }) => machines))],
      aliases: Object.assign({}, ...all.map(({ aliases }) => aliases)),
      newest: Object.assign({}, ...all.map(({ newest }) => newest)),
    }));
  }

  /** A model by its base name. Throws `InputError` for an unknown one. */
  model(name: string): CpuModelDefinition {
    const file = this.modelIndex.models[name];
    if (!file) throw unknownName('CPU model', name, Object.keys(this.modelIndex.models));
    return this.#read(`cpu-models/${file}`);
  }

  /** A machine type by name or alias. Throws `InputError` for an unknown one. */
  machine(name: string): MachineTypeDefinition {
    const known = this.#machines.get(name);
    if (known) return known;
    const { machines, aliases } = this.machineIndex;
    const real = aliases[name] ?? name;
    if (!machines.includes(real)) throw unknownName('machine type', name, [...machines, ...Object.keys(aliases)]);
    const machine = this.#read<MachineTypeDefinition>(`machine-types/${real}.json`);
    this.#machines.set(name, machine);
    return machine;
  }

  /** The contract file that holds a model, version or alias; undefined where there is none. */
  contracts(name: string): unknown {
    return this.#contractFile('contracts', name);
  }

  /** Likewise of its MSRs. */
  msrContracts(name: string): unknown {
    return this.#contractFile('msr-contracts', name);
  }

  #contractFile(folder: string, name: string): unknown {
    const { models, aliases } = this.modelIndex;
    const versioned = aliases[name] ?? name;
    const base = models[versioned] ? versioned : versioned.replace(/-v\d+$/, '');
    const path = `${folder}/${base}.json`;
    const known = this.#files.has(path) || this.fileOf(path) !== undefined;
    return known ? this.#read(path) : undefined;
  }

  /** The models that have a contract file, sorted. */
  contractNames(): string[] {
    const files = this.#folders
      .map((folder) => join(folder, 'contracts'))
      .filter((folder) => existsSync(folder))
      .flatMap((folder) => readdirSync(folder));
    const names = files.filter((file) => file.endsWith('.json')).map((file) => file.slice(0, -'.json'.length));
    return [...new Set(names)].sort();
  }

  /** The file of a path below the folders, where the last one that has it keeps it; undefined where none does. */
  fileOf(path: string): string | undefined {
    return this.#folders.map((folder) => join(folder, path)).find((file) => existsSync(file));
  }

  /** Holds a file to its form, as it is done for every file of a user's folder. Throws `InputError` `bad-corpora-file`. */
  check(path: string): void {
    const file = this.fileOf(path);
    if (file !== undefined) this.#checked(path, file);
  }

  #read<T>(path: string): T {
    const known = this.#files.get(path);
    if (known !== undefined) return known as T;
    const folder = this.#folders.find((candidate) => existsSync(join(candidate, path)));
    if (folder === undefined) throw badFile(join(this.#folders[0]!, path), 'an index names it, and it is not there');
    const value = this.#parsed<T>(folder, path);
    this.#files.set(path, value);
    return value;
  }

  #merged<T>(path: string, merge: (all: T[]) => T): T {
    const key = `merged:${path}`;
    const known = this.#files.get(key) ?? this.#files.get(path);
    if (known !== undefined) return known as T;
    const present = this.#folders.filter((folder) => existsSync(join(folder, path))).reverse();
    const value = merge(present.map((folder) => this.#parsed<T>(folder, path)));
    this.#files.set(key, value);
    return value;
  }

  /** A file's content; that of a user's folder is checked first. Throws `InputError` `bad-corpora-file`. */
  #parsed<T>(folder: string, path: string): T {
    const file = join(folder, path);
    if (folder !== this.#ground) return this.#checked(path, file) as T;
    return parseDefinition(readFileSync(file, 'utf8'), path, file) as T;
  }

  #checked(path: string, file: string): unknown {
    const value = parseDefinition(readFileSync(file, 'utf8'), path, file) as object;
    checkCorporaFile(path, value, file);
    const unknown = propertiesIn(value).find((name) => !this.#isProperty(name));
    if (unknown !== undefined) throw badFile(file, `QEMU has no CPU property '${unknown}'`);
    return value;
  }

  #isProperty(name: string): boolean {
    return featureDictionary().canonical(name) !== undefined || name in this.cpuClass.properties;
  }
}

/** The properties that a model or machine type sets; none of other files. */
function propertiesIn(value: object): string[] {
  if (!('name' in value)) return [];
  const {
    compat = [],
    versions = [],
    properties = {},
  } = value as Pick<Partial<MachineTypeDefinition>, 'compat'> &
    Pick<Partial<CpuModelDefinition>, 'versions' | 'properties'>;
  return [
    ...compat.map(({ property }) => property),
    ...[properties, ...versions.map((version) => version.properties)].flatMap((one) => Object.keys(one)),
  ];
}

let builtIn: Definitions | undefined;

/** The definitions that come with the package. */
export function builtInDefinitions(): Definitions {
  builtIn ??= new Definitions();
  return builtIn;
}
