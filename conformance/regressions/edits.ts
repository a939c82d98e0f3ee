/** Definitions with the edits of a mutant: what a commit that breaks machine types changes in their files. */
import { propertyFromFile } from '../../corpora/definition-text.js';
import {
  type CpuModelDefinition,
  Definitions,
  type MachineTypeDefinition,
  type Properties,
  type PropertyValue,
} from '../../corpora/definitions.js';
import type { Mutant } from '../../corpora/regressions.js';

type Edit = Extract<Mutant, { kind: 'definition' }>['edits'][number];

/** The built-in definitions, edited. Throws `RangeError` where an edit changes nothing: it would be no mutant. */
export function editedDefinitions(edits: readonly Edit[]): Definitions {
  const definitions = new Definitions();
  for (const edit of edits) apply(definitions, edit);
  return definitions;
}

function apply(definitions: Definitions, edit: Edit): void {
  if ('machine' in edit) {
    const was = definitions.machine(edit.machine);
    definitions.put(`machine-types/${was.name}.json`, changed(was, editedMachine(was, edit)));
  } else if ('model' in edit) {
    const was = definitions.model(edit.model);
    const file = definitions.modelIndex.models[edit.model]!;
    definitions.put(`cpu-models/${file}`, changed(was, editedModel(was, edit.version, fromFile(edit.properties))));
  } else if ('caches' in edit) {
    const was = definitions.caches;
    const set = was.sets[edit.caches]!;
    const cache = { ...set[edit.cache]!, ...edit.facts };
    const sets = { ...was.sets, [edit.caches]: { ...set, [edit.cache]: cache } };
    definitions.put('cpu-models/caches.json', changed(was, { ...was, sets } as typeof was));
  } else {
    const was = definitions.cpuClass;
    const properties = { ...was.properties, ...fromFile(edit.cpuClass) };
    const kvmDefaults = { ...was.kvmDefaults, ...fromFile(edit.kvmDefaults ?? {}) };
    definitions.put('cpu-models/x86_64-cpu.json', changed(was, { ...was, properties, kvmDefaults }));
  }
}

function changed<T>(was: T, is: T): T {
  if (JSON.stringify(was) === JSON.stringify(is)) throw new RangeError('an edit changes nothing');
  return is;
}

const fromFile = (properties: Readonly<Record<string, PropertyValue>>): Properties =>
  Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, propertyFromFile(value)]));

function editedMachine(was: MachineTypeDefinition, edit: Extract<Edit, { machine: string }>): MachineTypeDefinition {
  const { without = [], compat = [], kvmDefaults = {}, withoutKvmDefaults = [], defaultVersion } = edit;
  const named = (type: string, property: string): string =>
    `${type.replace(/-?x86_64-cpu$/, '') || 'x86_64-cpu'}.${property}`;
  const present = new Set(was.compat.map(({ type, property }) => named(type, property)));
  for (const one of without) if (!present.has(one)) throw new RangeError(`${was.name} has no compat property ${one}`);
  const kept = Object.entries(was.kvmDefaults).filter(([name]) => !withoutKvmDefaults.includes(name));
  return {
    ...was,
    compat: [
      ...was.compat.filter(({ type, property }) => !without.includes(named(type, property))),
      ...compat.map((one) => ({ ...one, value: propertyFromFile(one.value) })),
    ],
    kvmDefaults: { ...Object.fromEntries(kept), ...fromFile(kvmDefaults) },
    defaultVersion: defaultVersion ?? was.defaultVersion,
  };
}

function editedModel(was: CpuModelDefinition, version: number | undefined, properties: Properties): CpuModelDefinition {
  if (version === undefined) return { ...was, properties: { ...was.properties, ...properties } };
  return {
    ...was,
    versions: was.versions.map((one) =>
      one.version === version ? { ...one, properties: { ...one.properties, ...properties } } : one,
    ),
  };
}
