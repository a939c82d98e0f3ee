/** Definition files as the base had them, with what the edit may add: for changes that no compat property takes back. */
import { canonical } from '../../corpora/canonical.js';
import { propertyToFile } from '../../corpora/definition-text.js';
import type {
  CompatProperty,
  CpuClassDefinition,
  CpuModelDefinition,
  Definitions,
  MachineTypeDefinition,
  Properties,
} from '../../corpora/definitions.js';
import { canonicalMachine, canonicalModel } from '../import/files.js';

/** A file of a corpora folder: its value, as `Definitions` holds it, and its text. */
export interface FixedFile {
  readonly value: unknown;
  readonly text: string;
}

/** A file of the base with the head's additions. `path` is below the corpora folder. */
export function restoredFile(path: string, base: Definitions, head: Definitions): FixedFile {
  if (path === 'cpu-models/index.json') return plain(mergedModelIndex(base, head));
  if (path === 'machine-types/index.json') return plain(mergedMachineIndex(base, head));
  if (path === 'cpu-models/x86_64-cpu.json') return classFile(base.cpuClass, head.cpuClass);
  if (path === 'cpu-models/caches.json') {
    const { sets, models } = head.caches;
    const { schema, ...own } = base.caches;
    return plain({ schema, sets: { ...sets, ...own.sets }, models: { ...models, ...own.models } });
  }
  if (path === 'machine-types/deviations.json') return deviationsFile(base);
  if (path.startsWith('cpu-models/')) return modelFile(nameOf(path, base), base, head);
  return machineFile(base.machine(nameOf(path, base)));
}

export const machineFile = (machine: MachineTypeDefinition): FixedFile => ({
  value: machine,
  text: canonicalMachine(machine),
});

const plain = (value: object): FixedFile => ({ value, text: canonical(value) });

function nameOf(path: string, { modelIndex }: Definitions): string {
  const [, below = ''] = /^(?:cpu-models|machine-types)\/(.*)$/.exec(path) ?? [];
  const model = Object.entries(modelIndex.models).find(([, file]) => file === below)?.[0];
  return model ?? below.replace(/\.json$/, '');
}

/** Versions that the edit added stay. */
function modelFile(name: string, base: Definitions, head: Definitions): FixedFile {
  const before = base.model(name);
  const known = new Set(before.versions.map(({ version }) => version));
  const added = name in head.modelIndex.models && head.fileOf(`cpu-models/${head.modelIndex.models[name]}`);
  const versions = added ? head.model(name).versions.filter(({ version }) => !known.has(version)) : [];
  const value: CpuModelDefinition = { ...before, versions: [...before.versions, ...versions] };
  return { value, text: canonicalModel(value) };
}

function classFile(before: CpuClassDefinition, after: CpuClassDefinition): FixedFile {
  const value = { ...before, properties: { ...after.properties, ...before.properties } };
  return { value, text: canonical({ ...value, properties: toFile(value.properties) }) };
}

const toFile = (properties: Properties): Properties =>
  Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, propertyToFile(value)]));

function deviationsFile({ deviations }: Definitions): FixedFile {
  const schema = 'guest-abi/deviations/1';
  const entry = (one: CompatProperty): CompatProperty => ({ ...one, value: propertyToFile(one.value) });
  const written = deviations.map((one) => (one.properties ? { ...one, properties: one.properties.map(entry) } : one));
  return { value: { schema, deviations }, text: canonical({ schema, deviations: written }) };
}

function mergedModelIndex(base: Definitions, head: Definitions): object {
  const [{ schema, models, aliases }, now] = [base.modelIndex, head.modelIndex];
  return { schema, models: { ...now.models, ...models }, aliases: { ...now.aliases, ...aliases } };
}

/** Short names and the newest machine type may move on. */
function mergedMachineIndex(base: Definitions, head: Definitions): object {
  const [{ schema, machines, aliases, newest }, now] = [base.machineIndex, head.machineIndex];
  const all = [...now.machines];
  for (const [at, name] of machines.entries())
    if (!all.includes(name)) all.splice(at === 0 ? 0 : all.indexOf(machines[at - 1]!) + 1, 0, name);
  return { schema, machines: all, aliases: { ...aliases, ...now.aliases }, newest: { ...newest, ...now.newest } };
}
