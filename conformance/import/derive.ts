/** Derives definitions from what one or several QEMU releases say: a pure transformation, the heart of `import qemu`. */
import {
  type CpuClassDefinition,
  type CpuModelDefinition,
  Definitions,
  type MachineIndex,
  type MachineTypeDefinition,
  type ModelIndex,
} from '../../corpora/definitions.js';
import { type Deviation, deriveMachines } from './derive-machines.js';
import { deriveClass, deriveModels, sorted } from './derive-models.js';
import type { Release } from './release.js';

/** Everything that `corpora/cpu-models` and `corpora/machine-types` hold, but for what QEMU does not tell over QMP. */
export interface DerivedDefinitions {
  readonly cpuClass: CpuClassDefinition;
  readonly models: readonly CpuModelDefinition[];
  readonly machines: readonly MachineTypeDefinition[];
  readonly modelIndex: ModelIndex;
  readonly machineIndex: MachineIndex;
  /** What older releases say otherwise on machine types that a newer one also has: a reason and a commit are wanted. */
  readonly deviations: readonly Deviation[];
}

const FOLDERS: Readonly<Record<string, string>> = {
  GenuineIntel: 'intel',
  AuthenticAMD: 'amd',
  HygonGenuine: 'hygon',
  CentaurHauls: 'zhaoxin',
  '  Shanghai  ': 'zhaoxin',
};

/** Where a model's file stands below `cpu-models/`. */
export const modelFile = (model: CpuModelDefinition): string =>
  `${FOLDERS[model.vendor] ?? 'generic'}/${model.name}.json`;

/**
 * Derives definitions. Releases come oldest first; a later one's word counts where they disagree, and the disagreement is
 * returned. `carried` are definitions whose properties stay where no release can show them (a feature whose need is off).
 */
export function deriveDefinitions(releases: readonly Release[], carried?: Definitions): DerivedDefinitions {
  const cpuClass = deriveClass(releases);
  const noted = new Set(releases.filter(({ dump }) => dump.notes).map(({ name }) => name));
  const models = deriveModels(releases, cpuClass).map((model) =>
    carried ? withCarried(model, carried, noted) : model,
  );
  const modelIndex = indexOf(models);
  const definitions = new Definitions();
  definitions.put('cpu-models/x86_64-cpu.json', cpuClass);
  definitions.put('cpu-models/index.json', modelIndex);
  for (const model of models) definitions.put(`cpu-models/${modelFile(model)}`, model);
  const { machines, machineIndex, deviations } = deriveMachines(releases, definitions, carried);
  return { cpuClass, models, machines, modelIndex, machineIndex, deviations };
}

function indexOf(models: readonly CpuModelDefinition[]): ModelIndex {
  const aliases = models.flatMap(({ name, versions }) =>
    versions.flatMap(({ alias, version }) => (alias === undefined ? [] : [[alias, `${name}-v${version}`] as const])),
  );
  return {
    schema: 'guest-abi/cpu-model-index/1',
    models: sorted(Object.fromEntries(models.map((model) => [model.name, modelFile(model)]))),
    aliases: sorted(Object.fromEntries(aliases)),
  };
}

/** Adds what the sources do not show, from definitions that have it: features whose needs are off, and notes where the newest release of a version was not asked for them. */
function withCarried(model: CpuModelDefinition, carried: Definitions, noted: ReadonlySet<string>): CpuModelDefinition {
  if (!(model.name in carried.modelIndex.models)) return model;
  const known = carried.model(model.name);
  const add = (own: CpuModelDefinition['properties'], other: CpuModelDefinition['properties']) =>
    sorted({ ...Object.fromEntries(Object.entries(other).filter(([name]) => HIDDEN.test(name))), ...own });
  return {
    ...model,
    properties: add(model.properties, known.properties),
    versions: model.versions.map(({ properties, ...version }) => {
      const same = known.versions.find((one) => one.version === version.version);
      if (!same) return { ...version, properties };
      const note = noted.has(version.releases.at(-1)!) ? version.note : same.note;
      return {
        ...version,
        ...(note === undefined ? {} : { note }),
        properties: add(properties, same.properties),
      };
    }),
  };
}

/** Nested-virtualization controls show only with `vmx`, which KVM leaves off. */
const HIDDEN = /^vmx-/;
