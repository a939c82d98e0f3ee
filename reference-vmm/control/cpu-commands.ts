/** QMP commands about CPU models and machine types, and about the CPU that the guest has. */
import { setImmediate } from 'node:timers/promises';
import type { Definitions } from '../../corpora/definitions.js';
import { featureDictionary } from '../../corpora/features.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { lacksOf } from '../cpu-model/enforce.js';
import { listMachines, listModels, type ResolvedCpu, resolveCpu } from '../cpu-model/resolve.js';
import { VCPU_CAP } from '../vcpu-limits.js';
import type { ControlledMachine } from './controlled-machine.js';
import {
  baselineOf,
  type CpuModelInfo,
  type CpuModelPlace,
  compareModels,
  expandModel,
  propertiesOf,
} from './cpu-model-info.js';
import { featureWords, filteredFeatures } from './feature-words.js';
import type { Shape } from './qmp-arguments.js';
import { command, type QmpCommands } from './qmp-command.js';
import { QmpError } from './qmp-error.js';
import { cpuTypeOf, qomPathOf } from './run-state-commands.js';

const MODEL: Shape = { name: 'string', 'props?': 'any', 'deprecated-props?': { list: 'string' } };
const TWO_MODELS: Shape = { modela: { object: MODEL }, modelb: { object: MODEL } };
interface TwoModels {
  readonly modela: CpuModelInfo;
  readonly modelb: CpuModelInfo;
}

export function cpuCommands(machine: ControlledMachine, definitions: Definitions, host: HostCapabilities): QmpCommands {
  // Neither definitions nor the host change, and all models take half a second.
  let models: Promise<object[]> | undefined;
  const place = (): CpuModelPlace => ({ machine: machine.live.identity.machine, definitions, host });
  return {
    'query-machines': command({ 'compat-props?': 'boolean' }, () => machinesOf(definitions)),
    'query-cpu-definitions': command({}, () => (models ??= definitionsOf(place(), host))),
    'query-cpu-model-expansion': command(
      { type: { enum: ['static', 'full'] }, model: { object: MODEL } },
      ({ type, model }: { type: 'static' | 'full'; model: CpuModelInfo }) => ({
        model: expandModel(type, model, place()),
      }),
    ),
    'query-cpu-model-comparison': command(TWO_MODELS, ({ modela, modelb }: TwoModels) =>
      compareModels(modela, modelb, place()),
    ),
    'query-cpu-model-baseline': command(TWO_MODELS, ({ modela, modelb }: TwoModels) => ({
      model: baselineOf(modela, modelb, place()),
    })),
    'qom-get': command(
      { path: 'string', property: 'string' },
      ({ path, property }: { path: string; property: string }) => qomGet(machine, place(), host, path, property),
    ),
  };
}

/** QEMU's MachineInfo. No machine type is deprecated here: that they stay is what this monitor is for. */
function machinesOf(definitions: Definitions) {
  return listMachines(definitions).map(({ name, alias }) => ({
    name,
    ...(alias !== null && { alias }),
    ...(alias === 'pc' && { 'is-default': true }),
    'cpu-max': VCPU_CAP,
    'hotpluggable-cpus': false,
    'numa-mem-supported': false,
    deprecated: false,
    acpi: false,
  }));
}

/** QEMU's CpuDefinitionInfo. Resolving all takes half a second: the guest's exits are served in between. */
async function definitionsOf(place: CpuModelPlace, host: HostCapabilities) {
  const infos: object[] = [];
  const following = ['max', 'host'].map((name) => ({ name, aliasOf: null, deprecated: false }));
  for (const { name, aliasOf, deprecated } of [...following, ...listModels(place.machine, place.definitions)]) {
    const { cpu, expansion } = resolveCpu({ ...place, cpu: name });
    const follows = following.some((model) => model.name === name);
    infos.push({
      name,
      typename: `${name}-x86_64-cpu`,
      'unavailable-features': lacksOf(cpu, expansion.withoutNeeds, host).unavailable,
      ...(aliasOf !== null && { 'alias-of': aliasOf }),
      static: name === 'base',
      'migration-safe': !follows,
      deprecated,
    });
    await setImmediate();
  }
  return infos;
}

/** Properties of the vCPUs; there are no other objects. */
function qomGet(
  machine: ControlledMachine,
  place: CpuModelPlace,
  host: HostCapabilities,
  path: string,
  property: string,
): unknown {
  const { identity } = machine.live;
  const vcpu = identity.vcpus.find(({ index }) => qomPathOf(index) === path);
  if (!vcpu) throw new QmpError(`Device '${path}' not found`, 'DeviceNotFound');
  if (property === 'type') return cpuTypeOf(machine);
  if (property === 'apic-id') return vcpu.apicId;
  if (property === 'realized') return true;
  const resolved = resolveCpu({
    ...place,
    cpu: identity.pair.slice(identity.pair.indexOf('/') + 1),
    smp: identity.smp,
  });
  const lacks = () => lacksOf(resolved.cpu, resolved.expansion.withoutNeeds, host);
  if (property === 'feature-words') return featureWords(resolved.cpu);
  if (property === 'filtered-features') return filteredFeatures(lacks().filtered);
  if (property === 'unavailable-features') return lacks().unavailable;
  return propertyOf(resolved, property, cpuTypeOf(machine));
}

function propertyOf({ cpu }: ResolvedCpu, property: string, type: string): unknown {
  const feature = featureDictionary().canonical(property);
  if (feature) return cpu.on(feature);
  const value = propertiesOf(cpu)[property];
  if (value === undefined) throw new QmpError(`Property '${type}.${property}' not found`);
  return value;
}
