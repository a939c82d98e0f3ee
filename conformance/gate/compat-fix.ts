/** Compat properties that give released pairs their properties back, put where QEMU puts them: at the newest machine type that needs them. */
import type { CompatProperty, Definitions, MachineTypeDefinition, PropertyValue } from '../../corpora/definitions.js';
import { chooseMachine } from '../../reference-vmm/cpu-model/machine.js';
import { listModels, pairInputs } from '../../reference-vmm/cpu-model/resolve.js';
import { differingProperties, type PropertyChange, shownValue } from './causes.js';
import type { PairName } from './resolved.js';
import type { CompatLine, GateFinding } from './result.js';

/** A compat property and the machine type that gets it; null where an entry of the edit is only taken out again. */
export interface FixEntry {
  readonly machine: string;
  readonly entry: CompatProperty;
}

export interface CompatFix {
  /** Machine types as they must stand, by name. */
  readonly machines: ReadonlyMap<string, MachineTypeDefinition>;
  readonly entries: readonly FixEntry[];
}

/** The class of all CPUs. */
export const ALL_CPUS = 'x86_64-cpu';
const typeOf = (model: string): string => `${model}-${ALL_CPUS}`;
export const modelOfType = (type: string): string => type.slice(0, -ALL_CPUS.length - 1);

/** For pairs that both sides have; from the newest machine type to the oldest, which inherits what newer ones have. */
export function compatFix(pairs: readonly PairName[], base: Definitions, head: Definitions): CompatFix {
  const machines = new Map<string, MachineTypeDefinition>();
  const entries: FixEntry[] = [];
  for (const [name, models] of newestFirst(pairs, head)) {
    const now = withMachines(head, machines);
    const wanted = models.flatMap((model) =>
      changesOf({ machine: name, model }, base, now).map((change) => ({ model, ...change })),
    );
    if (wanted.length === 0) continue;
    const { definition, added } = corrected(now, name, forAll(wanted, name, base, now));
    machines.set(name, definition);
    entries.push(...added.map((entry) => ({ machine: name, entry })));
  }
  return { machines, entries };
}

/** Definitions with these machine types instead of their own. */
export const withMachines = (
  definitions: Definitions,
  machines: ReadonlyMap<string, MachineTypeDefinition>,
): Definitions => definitions.changed([...machines].map(([name, machine]) => [`machine-types/${name}.json`, machine]));

function newestFirst(pairs: readonly PairName[], head: Definitions): [string, string[]][] {
  const models = new Map<string, string[]>();
  for (const { machine, model } of pairs) models.set(machine, [...(models.get(machine) ?? []), model]);
  const depth = new Map([...models.keys()].map((name) => [name, chooseMachine(head, name).chain.length]));
  return [...models].sort(([a], [b]) => depth.get(a)! - depth.get(b)!);
}

const changesOf = ({ machine, model }: PairName, base: Definitions, now: Definitions): PropertyChange[] =>
  differingProperties(pairInputs(machine, model, base).properties(), pairInputs(machine, model, now).properties());

interface Wanted {
  readonly type: string;
  readonly property: string;
  readonly value: PropertyValue;
}

/** From so many models on, one entry for all CPUs says more than one for each. */
const MANY = 8;

/** What all models of the machine type had, or have where they are new, becomes one entry for all CPUs. */
function forAll(
  changes: readonly (PropertyChange & { model: string })[],
  machine: string,
  base: Definitions,
  now: Definitions,
): Wanted[] {
  const groups = new Map<string, Wanted[]>();
  for (const { model, property, before = false } of changes) {
    const key = JSON.stringify([property, before]);
    groups.set(key, [...(groups.get(key) ?? []), { type: typeOf(model), property, value: before }]);
  }
  return [...groups.values()].flatMap((group) => {
    const { property, value } = group[0]!;
    const all =
      group.length >= MANY &&
      listModels(machine, now).every(({ name }) => {
        const side = listModels(machine, base).some((one) => one.name === name) ? base : now;
        return (pairInputs(machine, name, side).properties().get(property) ?? false) === value;
      });
    return all ? [{ type: ALL_CPUS, property, value }] : group;
  });
}

/** Entries that the edit brought for the same type and property go first: often that is enough. */
function corrected(
  definitions: Definitions,
  name: string,
  wanted: readonly Wanted[],
): { definition: MachineTypeDefinition; added: CompatProperty[] } {
  const machine = definitions.machine(name);
  const own = new Set(wanted.map(({ type, property }) => `${type} ${property}`));
  const cleared = {
    ...machine,
    compat: machine.compat.filter(({ type, property }) => !own.has(`${type} ${property}`)),
  };
  const without = withMachines(definitions, new Map([[name, cleared]]));
  const added = wanted.filter(({ type, property, value }) => {
    const model = type === ALL_CPUS ? listModels(name, definitions)[0]!.name : modelOfType(type);
    return (pairInputs(name, model, without).properties().get(property) ?? false) !== value;
  });
  return { definition: { ...cleared, compat: [...cleared.compat, ...added].sort(byType) }, added };
}

const byType = (a: CompatProperty, b: CompatProperty): number => {
  if (a.type !== b.type && (a.type === ALL_CPUS || b.type === ALL_CPUS)) return a.type === ALL_CPUS ? -1 : 1;
  const [left, right] = [`${a.type} ${a.property}`, `${b.type} ${b.property}`];
  return left < right ? -1 : left > right ? 1 : 0;
};

/** `{ "Nehalem-x86_64-cpu", "min-level", "11" }`: as a GlobalProperty of QEMU's hw/i386/pc.c. */
export const compatLine = ({ type, property, value }: CompatProperty): string =>
  `{ "${type}", "${property}", "${shownValue(value)}" }`;

/** The entries that concern a finding, each line with all machine types that get it. */
export function compatLines(
  entries: readonly FixEntry[],
  { models, causes }: Pick<GateFinding, 'models' | 'causes'>,
): CompatLine[] {
  const types = new Set([ALL_CPUS, ...models.map(typeOf)]);
  const properties = new Set(causes.map(({ property }) => property));
  const lines = new Map<string, string[]>();
  for (const { machine, entry } of entries) {
    if (!types.has(entry.type) || !properties.has(entry.property)) continue;
    const line = compatLine(entry);
    lines.set(line, [...(lines.get(line) ?? []), machine]);
  }
  return [...lines].map(([line, machines]) => ({ line, machines }));
}
