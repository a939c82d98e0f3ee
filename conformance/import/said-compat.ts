/** What a QEMU itself says of its machine types' compat properties, against what definitions make of its pairs: nothing of it may be lost. */
import { propertyFromFile } from '../../corpora/definition-text.js';
import type { Definitions, PropertyValue } from '../../corpora/definitions.js';
import { featureDictionary } from '../../corpora/features.js';
import { chooseMachine } from '../../reference-vmm/cpu-model/machine.js';
import { modelNames } from '../../reference-vmm/cpu-model/model.js';
import { pairInputs } from '../../reference-vmm/cpu-model/resolve.js';
import type { Release } from './release.js';

/** An entry of `compat-props` (query-machines, since QEMU 9.1). */
export interface SaidCompat {
  readonly 'qom-type': string;
  readonly property: string;
  readonly value: string;
}

/** An entry that definitions do not hold. */
export interface NotHeld {
  readonly type: string;
  readonly property: string;
  /** As QEMU says it. */
  readonly value: string;
  /** What the definitions have there; null where they have no such property, or no such model (`host`, `max`). */
  readonly held: PropertyValue;
  readonly machines: readonly string[];
}

const CPU_TYPE = /^(.+-)?x86_64-cpu$/;
const typeOf = (model: string): string => `${model}-x86_64-cpu`;

/** True of an entry that changes CPUs. */
export const isOfCpu = (entry: SaidCompat): boolean => CPU_TYPE.test(entry['qom-type']);

/** Every entry of a release that its pairs do not show; none where the release was not asked. Entries of models that it no longer has change nothing. */
export function notHeld({ name: release, dump }: Release, definitions: Definitions): NotHeld[] {
  const { compat = {}, models: all } = dump;
  const found = new Map<string, NotHeld>();
  for (const [machine, said] of Object.entries(compat)) {
    const choice = chooseMachine(definitions, machine, release);
    const models = modelNames(definitions, choice, release);
    const others = new Set(all.filter((name) => !models.includes(name)).map(typeOf));
    const add = (entry: SaidCompat, held: PropertyValue): void => {
      const { 'qom-type': type, property, value } = entry;
      const key = JSON.stringify([type, property, value, held]);
      const machines = [...(found.get(key)?.machines ?? []), machine];
      found.set(key, { type, property, value, held, machines: [...new Set(machines)] });
    };
    for (const entry of said) if (others.has(entry['qom-type'])) add(entry, null);
    for (const model of models) {
      const held = pairInputs(machine, model, definitions, { release }).properties();
      for (const entry of effective(said, model)) {
        const value = held.get(canonical(entry.property)) ?? (isFeature(entry.property) ? false : null);
        if (!means(entry.value, value)) add(entry, value);
      }
    }
  }
  return [...found.values()];
}

/** Of several entries of one property the last one counts, for the class or for the model alone (QEMU, object_apply_global_props). */
function effective(said: readonly SaidCompat[], model: string): Iterable<SaidCompat> {
  const types = new Set(['x86_64-cpu', typeOf(model)]);
  return new Map(said.filter((one) => types.has(one['qom-type'])).map((one) => [one.property, one])).values();
}

const canonical = (property: string): string => featureDictionary().canonical(property) ?? property;
const isFeature = (property: string): boolean => featureDictionary().bitsOf(canonical(property)).length > 0;

const TRUE = new Set(['on', 'true', 'yes']);

function means(text: string, value: PropertyValue): boolean {
  if (typeof value === 'boolean') return TRUE.has(text) === value;
  return typeof value === 'number' ? Number(text) === value : text === propertyFromFile(value);
}
