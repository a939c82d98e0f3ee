/** What one QEMU release says of its CPUs over QMP, in the shape that definitions are derived from. */
import type { PropertyValue } from '../../corpora/definitions.js';
import { featureDictionary } from '../../corpora/features.js';
import type { Accelerator } from '../../reference-vmm/cpu-model/properties.js';
import type { SaidCompat } from './said-compat.js';

type Values = Readonly<Record<string, PropertyValue>>;

/** An entry of `query-cpu-definitions`. */
export interface CpuDefinitionInfo {
  readonly name: string;
  readonly deprecated?: boolean;
  readonly 'alias-of'?: string;
}

/** The answers of one release; property maps are kept once and named by their hash. */
export interface ReleaseDump {
  /** Versioned machine types and `microvm`. */
  readonly machines: readonly string[];
  readonly models: readonly string[];
  /** Alias -> versioned model on the newest machine type. */
  readonly aliases: Readonly<Record<string, string>>;
  readonly defs: readonly CpuDefinitionInfo[];
  /** What every map is relative to. */
  readonly default: Values;
  readonly maps: Readonly<Record<string, Values & { readonly __absent?: readonly string[] }>>;
  /** Versioned model -> what QEMU notes of it (`-cpu help`): `no TSX`. */
  readonly notes?: Readonly<Record<string, string>>;
  /** Versioned model -> features that it shows only once what they need is switched on, e.g. all `vmx-*`. */
  readonly hidden?: Readonly<Record<string, readonly string[]>>;
  /** Machine type -> the compat properties that it says it has; absent where it was not asked, or cannot say. */
  readonly compat?: Readonly<Record<string, readonly SaidCompat[]>>;
  /** Accelerator -> machine type -> model -> hash. */
  readonly pairs: Readonly<Record<Accelerator, Readonly<Record<string, Readonly<Record<string, string>>>>>>;
}

/** A release with its name, and its maps ready for look-up. */
export class Release {
  readonly name: string;
  readonly dump: ReleaseDump;
  readonly #defaults: Values;
  readonly #maps = new Map<string, Values>();
  #newest: string | undefined;

  constructor(name: string, dump: ReleaseDump) {
    this.name = name;
    this.dump = dump;
    this.#defaults = canonicalValues(dump.default);
  }

  /** The declared properties of a pair by canonical name, not filtered by a host; undefined where there is no such pair. */
  properties(accelerator: Accelerator, machine: string, model: string): Values | undefined {
    const hash = this.dump.pairs[accelerator][machine]?.[model];
    if (hash === undefined) return undefined;
    let map = this.#maps.get(hash);
    if (!map) {
      const { __absent: absent = [], ...own } = this.dump.maps[hash]!;
      const gone = new Set(absent);
      const ours = Object.entries(this.#defaults).filter(([name]) => !gone.has(name));
      map = Object.fromEntries([...ours, ...Object.entries(canonicalValues(own as Values))]);
      this.#maps.set(hash, map);
    }
    return map;
  }

  /** The machine types, oldest first, of one board. */
  machinesOf(board: 'i440fx' | 'q35'): string[] {
    return Object.keys(this.dump.pairs.kvm)
      .filter((name) => boardOf(name) === board)
      .sort(compareVersions);
  }

  /** The newest pc-i440fx machine type. */
  get newest(): string {
    this.#newest ??= this.machinesOf('i440fx').at(-1)!;
    return this.#newest;
  }
}

/** Removes aliases, so that each property has one name. */
export function canonicalValues(values: Values): Values {
  const dictionary = featureDictionary();
  return Object.fromEntries(
    Object.entries(values).filter(([name]) => (dictionary.canonical(name) ?? name) === name && !ALIASES.has(name)),
  );
}

/** Aliases of properties that are not features. */
const ALIASES: ReadonlySet<string> = new Set(['hv-apicv', 'lbr_fmt']);

/** `pc-1.0` belongs to i440fx. */
export function boardOf(machine: string): 'i440fx' | 'q35' | undefined {
  if (/^pc-(i440fx-)?\d/.test(machine)) return 'i440fx';
  return machine.startsWith('pc-q35-') ? 'q35' : undefined;
}

/** Versions compare as numbers: 2.10 is newer than 2.9. */
export const versionOf = (name: string): number[] => (/(\d+(?:\.\d+)*)$/.exec(name)?.[1] ?? '').split('.').map(Number);

export function compareVersions(a: string, b: string): number {
  const [x, y] = [versionOf(a), versionOf(b)];
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    const difference = (x[i] ?? 0) - (y[i] ?? 0);
    if (difference) return difference;
  }
  return 0;
}
