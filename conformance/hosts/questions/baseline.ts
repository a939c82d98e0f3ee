/** `host baseline`: the greatest CPU that every host of a group runs: a named model and the features that all offer beside it. */
import type { Definitions } from '../../../corpora/definitions.js';
import { MachineError } from '../../../corpora/errors.js';
import { featureDictionary } from '../../../corpora/features.js';
import { type CpuSpec, formatCpu, parseCpu } from '../../../corpora/pair.js';
import { runnableModels } from '../../../reference-vmm/cpu-model/best-model.js';
import { hidingLevel } from '../../../reference-vmm/cpu-model/contradictions.js';
import { filterCpu, lacksOf } from '../../../reference-vmm/cpu-model/enforce.js';
import { offeredFeatures } from '../../../reference-vmm/cpu-model/host-model.js';
import { type ResolvedCpu, realModels, resolveCpu } from '../../../reference-vmm/cpu-model/resolve.js';
import { altersCpuid } from '../summary.js';
import type { NamedHost } from './named-host.js';

export interface Baseline {
  readonly machine: string;
  readonly model: string;
  /** What all hosts offer beyond the model, QEMU's names, sorted. */
  readonly features: readonly string[];
  /** Both as a `-cpu` string: it runs unfiltered on every host, with `enforce` too. */
  readonly cpu: string;
  /** Hosts whose kernel adds features of its own to any table: they can run it only altered. */
  readonly alteredOn: readonly string[];
}

/** Throws `MachineError` `no-common-model` where no named model runs on all hosts, `InputError` for an unknown machine type. */
export function baseline(hosts: readonly NamedHost[], machine: string, definitions: Definitions): Baseline {
  const all = hosts.map(({ host }) => host);
  const resolveOne = (cpu: string | CpuSpec): ResolvedCpu => resolveCpu({ machine, cpu, definitions });
  const [best] = runnableModels(realModels(machine, definitions), resolveOne, all);
  if (!best) {
    const ids = hosts.map(({ id }) => id).join(', ');
    throw new MachineError('no-common-model', `no named model of ${machine} runs unfiltered on all of ${ids}`);
  }
  const offered = all.map((host) => new Set(offeredFeatures(host, { migratable: true })));
  const common = [...offered[0]!].filter((name) => offered.every((one) => one.has(name)));
  const spec = settle(best.name, common.filter((name) => !best.resolved.cpu.on(name)).sort(), (candidate) => {
    const { cpu, expansion } = resolveOne(candidate);
    const filtered = all.flatMap((host) => filterCpu(cpu, host).removed);
    const asked = candidate.options.map(({ name }) => name);
    const unseen = asked.filter((name) => !cpu.on(name) || hidingLevel(name, cpu.properties));
    return new Set([...filtered, ...expansion.withoutNeeds, ...unseen]);
  });
  return {
    machine,
    model: best.name,
    features: spec.options.map(({ name }) => name),
    cpu: formatCpu(spec),
    alteredOn: hosts.filter(({ host }) => altersCpuid(host)).map(({ id }) => id),
  };
}

/** Leaves features out until none is refused: one that needs another, brings state that a host does not save, or stands above the level. */
function settle(
  model: string,
  features: readonly string[],
  refusedOf: (spec: CpuSpec) => ReadonlySet<string>,
): CpuSpec {
  for (let left = features; ; ) {
    const spec: CpuSpec = { model, options: left.map((name) => ({ kind: 'plus', name })) };
    const refused = refusedOf(spec);
    if (refused.size === 0 || left.length === 0) return spec;
    const without = (names: ReadonlySet<string>): string[] => left.filter((name) => !names.has(name));
    const kept = without(refused);
    // One that the model has, and that another brought to light: Opteron_G5's nrip-save comes with svm.
    const fewer = kept.length < left.length ? kept : without(needsOf(refused));
    left = fewer.length < left.length ? fewer : [];
  }
}

/** What features need to be there. */
const needsOf = (features: ReadonlySet<string>): ReadonlySet<string> =>
  new Set(
    featureDictionary()
      .dependencies.filter((one) => one.features.some((name) => features.has(name)))
      .flatMap(({ needs }) => needs),
  );

/** True where `cpu` runs unfiltered on every host, also with `enforce`: what `baseline` promises. */
export function runsEverywhere(
  hosts: readonly NamedHost[],
  { machine, cpu }: Pick<Baseline, 'machine' | 'cpu'>,
  definitions: Definitions,
): boolean {
  const resolved = resolveCpu({ machine, cpu, definitions });
  const hidden = parseCpu(cpu).options.some(({ name }) => hidingLevel(name, resolved.cpu.properties));
  if (hidden) return false;
  return hosts.every(({ host }) => lacksOf(resolved.cpu, resolved.expansion.withoutNeeds, host).reasons.length === 0);
}
