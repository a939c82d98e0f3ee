/** An upgrade of the definitions, as the next release would make it: defaults change, and machine types that were released keep theirs. */
import { builtInDefinitions, type CpuModelDefinition, Definitions } from '../../corpora/definitions.js';
import { featureDictionary } from '../../corpora/features.js';

/**
 * The built-in definitions after an upgrade: a new version of the model with one feature more or less, and a property of all CPUs with another default,
 * which the machine types released so far get back by a compat property. No pair of theirs may show anything else. `pick`: which feature and which property.
 */
export function upgradedDefinitions(model: string, pick: number): Definitions {
  const before = builtInDefinitions();
  const after = new Definitions();
  const { models, aliases } = before.modelIndex;
  const base = (aliases[model] ?? model).replace(/-v\d+$/, '');
  if (models[base])
    after.put(
      `cpu-models/${models[base]}`,
      withNewVersion(before.model(base), Object.keys(before.machineIndex.newest).at(-1)!, pick),
    );
  const { cpuClass } = before;
  const switches = Object.keys(cpuClass.properties).filter((name) => typeof cpuClass.properties[name] === 'boolean');
  const property = switches[pick % switches.length]!;
  const value = cpuClass.properties[property] as boolean;
  const properties = { ...cpuClass.properties, [property]: !value };
  after.put('cpu-models/x86_64-cpu.json', { ...cpuClass, properties });
  for (const name of before.machineIndex.machines) {
    const machine = before.machine(name);
    const isNewest = !machine.follows && (machine.newer === null || before.machine(machine.newer).follows);
    if (!isNewest) continue;
    const compat = [...machine.compat, { type: 'x86_64-cpu', property, value }];
    after.put(`machine-types/${name}.json`, { ...machine, compat });
  }
  return after;
}

function withNewVersion(model: CpuModelDefinition, newestRelease: string, pick: number): CpuModelDefinition {
  const names = [...featureDictionary().names()];
  const feature = names[pick % names.length]!;
  const version = Math.max(1, ...model.versions.map((one) => one.version)) + 1;
  const properties = { [feature]: model.properties[feature] !== true };
  return { ...model, versions: [...model.versions, { version, releases: [newestRelease], properties }] };
}
