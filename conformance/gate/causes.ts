/** Which edits made a pair another CPU: properties that differ before expansion, else files that do. */
import { readFileSync } from 'node:fs';
import { propertyToFile } from '../../corpora/definition-text.js';
import type { Definitions, PropertyValue } from '../../corpora/definitions.js';
import { chooseMachine } from '../../reference-vmm/cpu-model/machine.js';
import { chooseModel } from '../../reference-vmm/cpu-model/model.js';
import type { PairChange } from './compare-definitions.js';
import { keptByTwo, type PairName, ResolvedPair, type ResolvedPairs } from './resolved.js';
import type { Cause } from './result.js';

/** A file that differs, with its text before and after; null where a side has none. */
interface EditedFile {
  /** Below the corpora folder. */
  readonly path: string;
  readonly before: string | null;
  readonly after: string | null;
}

/** Files that any pair may follow from. */
const SHARED = [
  'cpu-models/x86_64-cpu.json',
  'cpu-models/caches.json',
  'cpu-models/index.json',
  'machine-types/index.json',
  'machine-types/deviations.json',
];

/** Finds causes; what was read is kept. */
export class Causes {
  readonly #base: Definitions;
  readonly #head: Definitions;
  readonly #resolved: ResolvedPairs;
  readonly #shown: (file: string) => string;
  readonly #differing = keptByTwo<ResolvedPair, ResolvedPair, PropertyChange[]>();
  readonly #edited = new Map<string, EditedFile | null>();

  /** @param shown how a file's path is written for people and reports */
  constructor(base: Definitions, head: Definitions, resolved: ResolvedPairs, shown: (file: string) => string) {
    this.#base = base;
    this.#head = head;
    this.#resolved = resolved;
    this.#shown = shown;
  }

  /** Never empty. */
  of(change: PairChange): Cause[] {
    if (change.kind.startsWith('contract-')) return [this.#contractCause(change)];
    const files = this.editedFiles(change).flatMap((path) => this.#edit(path) ?? []);
    const properties = this.#propertyCauses(change, files);
    if (properties.length > 0) return properties;
    if (files.length > 0) return files.map((file) => this.#fileCause(file));
    return [{ ...NO_PLACE, text: 'no definition was edited: the resolver shows another CPU than the contract' }];
  }

  /** Paths below corpora/ of edited files that the pair may follow from. */
  editedFiles(pair: PairName): string[] {
    return this.#filesOf(pair).filter((path) => this.#edit(path) !== null);
  }

  /** The model whose contract file has the pair. */
  contractFile({ model }: PairName): string {
    const aliases = { ...this.#head.modelIndex.aliases, ...this.#base.modelIndex.aliases };
    return (aliases[model] ?? model).replace(/-v\d+$/, '');
  }

  #contractCause(pair: PairName): Cause {
    const own = `contracts/${this.contractFile(pair)}.json`;
    const path = [own, `msr-${own}`].find((one) => this.#edit(one) !== null) ?? own;
    return this.#fileCause(this.#edit(path) ?? { path, before: null, after: null });
  }

  #propertyCauses(pair: PairName, files: readonly EditedFile[]): Cause[] {
    const [before, after] = [this.#resolved.of(pair, this.#base), this.#resolved.of(pair, this.#head)];
    if (!(before instanceof ResolvedPair && after instanceof ResolvedPair)) return [];
    const differing = this.#differing(before, after, () =>
      differingProperties(before.inputs.properties(), after.inputs.properties()),
    );
    return differing.map(({ property, before: old, after: now }) => {
      const file = files.find(({ before: a, after: b }) => [a, b].some((text) => text?.includes(`"${property}"`)));
      return {
        ...this.#place(file, property),
        ...{ property, before: old, after: now, text: `${property} ${shownValue(old)} -> ${shownValue(now)}` },
      };
    });
  }

  #fileCause(file: EditedFile): Cause {
    const what = file.after === null ? 'is gone' : file.before === null ? 'is new' : 'was edited';
    const place = this.#place(file, null);
    return {
      ...place,
      property: null,
      before: undefined,
      after: undefined,
      text: `${place.file ?? file.path} ${what}`,
    };
  }

  #place(file: EditedFile | undefined, property: string | null): Pick<Cause, 'file' | 'line'> {
    if (!file) return { file: null, line: null };
    const path = this.#head.fileOf(file.path) ?? this.#base.fileOf(file.path);
    return {
      file: path === undefined ? file.path : this.#shown(path),
      line: file.after === null ? null : lineOf(file, property),
    };
  }

  /** Paths below corpora/ that a pair may follow from. */
  #filesOf({ machine, model }: PairName): string[] {
    const paths = new Set<string>();
    for (const definitions of [this.#head, this.#base]) {
      for (const path of ownFiles(definitions, machine, model)) paths.add(path);
    }
    return [...paths, `machine-types/${machine}.json`, ...SHARED];
  }

  /** Null where it is the same on both sides. */
  #edit(path: string): EditedFile | null {
    let known = this.#edited.get(path);
    if (known === undefined) {
      const [before, after] = [this.#base, this.#head].map((side) => {
        const file = side.fileOf(path);
        return file === undefined ? null : readFileSync(file, 'utf8');
      }) as [string | null, string | null];
      known = before === after ? null : { path, before, after };
      this.#edited.set(path, known);
    }
    return known;
  }
}

const NO_PLACE = { file: null, line: null, property: null, before: undefined, after: undefined } as const;

/** The model's file and those of the machine type and all newer ones; none where the side does not have the pair. */
function ownFiles(definitions: Definitions, machine: string, model: string): string[] {
  try {
    const chosen = chooseMachine(definitions, machine);
    const { name } = chooseModel(definitions, chosen, model).definition;
    return [
      `cpu-models/${definitions.modelIndex.models[name]}`,
      ...chosen.chain.map((one) => `machine-types/${one.name}.json`),
    ];
  } catch {
    return [];
  }
}

export interface PropertyChange {
  readonly property: string;
  /** Undefined where the side has not set it: a feature is then off. */
  readonly before: PropertyValue | undefined;
  readonly after: PropertyValue | undefined;
}

type Map_ = ReadonlyMap<string, PropertyValue>;

/** Properties with different values; a feature that is absent is off. */
export const differingProperties = (before: Map_, after: Map_): PropertyChange[] =>
  [...new Set([...before.keys(), ...after.keys()])]
    .map((property) => ({ property, before: before.get(property), after: after.get(property) }))
    .filter(({ before: a, after: b }) => (a ?? false) !== (b ?? false));

export const shownValue = (value: PropertyValue | undefined): string => {
  if (value === undefined || value === false) return 'off';
  if (value === true) return 'on';
  return String(propertyToFile(value));
};

/** The first line that differs and names the property, else where such a line went, else the first that differs. */
function lineOf({ before, after }: EditedFile, property: string | null): number {
  const [old, now] = [(before ?? '').split('\n'), after!.split('\n')];
  const differing = (lines: readonly string[], others: readonly string[], text: string): number => {
    const known = new Set(others);
    return lines.findIndex((line) => !known.has(line) && line.includes(text));
  };
  const name = property === null ? '' : `"${property}"`;
  const found = [differing(now, old, name), differing(old, now, name), differing(now, old, '')].find((at) => at >= 0);
  return Math.min((found ?? 0) + 1, now.length);
}
