/** Definitions as files: what stands in each, in canonical form. */
import { canonical } from '../../corpora/canonical.js';
import { propertyToFile } from '../../corpora/definition-text.js';
import type {
  CompatProperty,
  CpuModelDefinition,
  MachineTypeDefinition,
  Properties,
} from '../../corpora/definitions.js';
import { type DerivedDefinitions, modelFile } from './derive.js';

/** Path below `corpora/` -> text, for everything that an import derives. */
export function definitionFiles(derived: DerivedDefinitions): Map<string, string> {
  const { cpuClass, models, machines, modelIndex, machineIndex } = derived;
  return new Map([
    [
      'cpu-models/x86_64-cpu.json',
      canonical({ ...cpuClass, properties: toFile(cpuClass.properties), onlyIn: cpuClass.onlyIn }),
    ],
    ['cpu-models/index.json', canonical(modelIndex)],
    ['machine-types/index.json', canonical(machineIndex)],
    ...models.map((model) => [`cpu-models/${modelFile(model)}`, canonicalModel(model)] as const),
    ...machines.map((machine) => [`machine-types/${machine.name}.json`, canonicalMachine(machine)] as const),
  ]);
}

export const canonicalModel = (model: CpuModelDefinition): string =>
  canonical({
    ...model,
    properties: toFile(model.properties),
    versions: model.versions.map((version) => ({ ...version, properties: toFile(version.properties) })),
  });

export const canonicalMachine = (machine: MachineTypeDefinition): string =>
  canonical({ ...machine, compat: machine.compat.map(compatToFile) });

const compatToFile = ({ type, property, value }: CompatProperty): CompatProperty => ({
  type,
  property,
  value: propertyToFile(value),
});

const toFile = (properties: Properties): Properties =>
  Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, propertyToFile(value)]));
