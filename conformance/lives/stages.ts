/** Generated stages of lives: a pair that most of the hosts can run, or any pair, and hosts in any order. */
import fc from 'fast-check';
import { builtInDefinitions, type Definitions } from '../../corpora/definitions.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import { parseCpu } from '../../corpora/pair.js';
import { isHostModel } from '../../reference-vmm/cpu-model/host-model.js';
import { isOpen } from '../../reference-vmm/cpu-model/msrs.js';
import { listMachines, listModels, resolve } from '../../reference-vmm/cpu-model/resolve.js';
import type { Host } from '../hosts/host.js';
import { closedPair, type GeneratedPair } from '../properties/arbitraries.js';
import { predict } from '../run/predict.js';
import type { LifeStage } from './guest-life.js';
import { upgradedDefinitions } from './upgrade.js';

export interface StageOptions {
  readonly allowAltered: boolean;
  readonly forceFeatures: boolean;
  /** SMP shapes to choose from. */
  readonly shapes: readonly string[];
}

export interface GeneratedStage extends GeneratedPair {
  readonly smp: string;
  readonly hosts: readonly Host[];
  readonly toString: () => string;
}

const MACHINES = listMachines()
  .map(({ name }) => name)
  .filter((machine) => !isOpen({ machine, cpuModel: '' }));
/** Pairs that follow their host, on the machine type that promises nothing: they move forward and are refused back. */
const OPEN_PAIRS: readonly GeneratedPair[] = ['host', 'max'].map((cpu) => ({ machine: 'pc-next', cpu }));

export function generatedStage(hosts: readonly Host[], options: StageOptions): fc.Arbitrary<GeneratedStage> {
  const path = fc.shuffledSubarray([...hosts], {
    minLength: Math.min(2, hosts.length),
    maxLength: Math.min(4, hosts.length),
  });
  const smp = fc.constantFrom(...options.shapes);
  return fc.tuple(path.map(otherKernelSecond), smp).chain(([chosen, shape]) => {
    const runnable = fc
      .tuple(fc.constantFrom(...MACHINES), fc.nat({ max: 10_000 }))
      .map(([machine, pick]) => runnablePair(machine, pick, chosen.slice(0, 2), options));
    return fc
      .oneof(
        { arbitrary: runnable, weight: 15 },
        { arbitrary: closedPair, weight: 3 },
        { arbitrary: fc.constantFrom(...OPEN_PAIRS), weight: 2 },
      )
      .map(({ machine, cpu }) => ({
        ...{ machine, cpu, smp: shape, hosts: chosen },
        toString: () => `${machine}/${cpu} smp ${shape} on ${chosen.map(({ summary }) => summary.id).join(', ')}`,
      }));
  });
}

type Runs = (host: Host) => ReadonlySet<string>;

/** The pair is chosen for the first two hosts: they are of two kernels, where any are. */
function otherKernelSecond(hosts: readonly Host[]): Host[] {
  const [first, ...others] = hosts as [Host, ...Host[]];
  const kernel = ({ capabilities }: Host): string => capabilities.facts.kernel;
  const second = others.find((host) => kernel(host) !== kernel(first));
  return second ? [first, second, ...others.filter((host) => host !== second)] : [...hosts];
}

/** By machine type and options: the models that a host is predicted to run. Asked again for each life, and worked out once. */
const known = new Map<string, { readonly models: readonly string[]; readonly runs: Runs }>();

/** A pair of this machine type that all of `hosts` are predicted to run; any of it where there is none. */
function runnablePair(machine: string, pick: number, hosts: readonly Host[], options: StageOptions): GeneratedPair {
  const { models, runs } = modelsOf(machine, options);
  const everywhere = models.filter((name) => hosts.every((host) => runs(host).has(name)));
  const chosen = everywhere.length > 0 ? everywhere : models;
  return { machine, cpu: chosen[pick % chosen.length]! };
}

function modelsOf(machine: string, options: StageOptions) {
  const key = JSON.stringify([machine, options]);
  const before = known.get(key);
  if (before) return before;
  const models = listModels(machine)
    .map(({ name }) => name)
    .filter((name) => !isHostModel(name));
  const identities = models.map((cpu) => resolve({ machine, cpu }));
  const byHost = new Map<Host, ReadonlySet<string>>();
  const runs: Runs = (host) => {
    const found =
      byHost.get(host) ??
      new Set(
        models.filter((_, i) => predict({ identity: identities[i]!, hosts: [host] }, options).verdict !== 'refused'),
      );
    byHost.set(host, found);
    return found;
  };
  known.set(key, { models, runs });
  return { models, runs };
}

const identityOn = ({ machine, cpu, smp, hosts }: GeneratedStage, definitions: Definitions): CpuIdentity =>
  resolve({ machine, cpu, smp, definitions, ...(isHostModel(cpu) ? { host: hosts[0]!.capabilities } : {}) });

export const lifeStage = (stage: GeneratedStage, { allowAltered, forceFeatures }: StageOptions): LifeStage => ({
  ...{ identity: identityOn(stage, builtInDefinitions()), smp: stage.smp, hosts: stage.hosts },
  ...{ allowAltered, forceFeatures },
});

/** False on a machine type that follows the newest: an upgrade may change its CPUs. */
export const isPromised = ({ machine }: GeneratedStage): boolean =>
  builtInDefinitions().machine(machine).follows !== true;

/** What the pair resolves to after an upgrade of the definitions. */
export const upgradedIdentity = (stage: GeneratedStage, pick: number): CpuIdentity =>
  identityOn(stage, upgradedDefinitions(parseCpu(stage.cpu).model, pick));
