/** Which model and version a name means on a machine type. */
import type { CpuModelDefinition, CpuModelVersion, Definitions } from '../../corpora/definitions.js';
import { unknownName } from '../../corpora/errors.js';
import type { MachineChoice } from './machine.js';

/** A model as one pair uses it. */
export interface ModelChoice {
  /** As the user named it; compat properties bind to this name. */
  readonly name: string;
  readonly definition: CpuModelDefinition;
  /** The versions that apply, oldest first. */
  readonly versions: readonly CpuModelVersion[];
  /** `Nehalem-v2`; the name itself for a model without versions (`base`). */
  readonly versionName: string;
  /** The versioned name that this one stands for; null where it is one, or where old machine types report none. */
  readonly aliasOf: string | null;
}

/**
 * The model of a name, alias (`Haswell-noTSX`) or versioned name (`Haswell-v2`). An unversioned name takes the version of the
 * machine type (QEMU, x86_cpu_model_resolve_version): the base on machine types up to 4.0, version 1 from 4.1 on, the newest
 * on `microvm` and `pc-next`. Throws `InputError` where no release has this model on this machine type.
 */
export function chooseModel(
  definitions: Definitions,
  machine: MachineChoice,
  name: string,
  release?: string,
): ModelChoice {
  const choice = findModel(definitions, machine, name, release);
  if (!choice) throw unknownName('CPU model', name, modelNames(definitions, machine));
  return choice;
}

/** As `chooseModel`, or undefined where there is none. */
export function findModel(
  definitions: Definitions,
  machine: MachineChoice,
  name: string,
  release?: string,
): ModelChoice | undefined {
  const { models, aliases } = definitions.modelIndex;
  const versioned = aliases[name] ?? name;
  const [, base = versioned, version] = models[versioned] ? [] : (/^(.*)-v(\d+)$/.exec(versioned) ?? []);
  if (!models[base]) return undefined;
  const definition = definitions.model(base);
  const present = definition.versions.filter((one) => onMachine(one.releases, machine, release));
  const wanted = version === undefined ? defaultVersion(present, machine) : Number(version);
  const newest = present.find((one) => one.version === wanted);
  if (!newest) return undefined;
  const versionName = wanted === 0 ? name : `${base}-v${wanted}`;
  const reportsAlias = machine.definition.defaultVersion !== 'legacy' && name !== versionName;
  return {
    name,
    definition,
    versions: definition.versions.filter((one) => one.version <= wanted),
    versionName,
    aliasOf: reportsAlias ? versionName : null,
  };
}

/** True where a release (the given one, or any) has both. */
export function onMachine(releases: readonly string[], machine: MachineChoice, release?: string): boolean {
  if (release) return releases.includes(release);
  return machine.definition.follows || releases.some((one) => machine.definition.releases.includes(one));
}

/** `legacy` is the base, which is what version 1 begins with. */
function defaultVersion(present: readonly CpuModelVersion[], machine: MachineChoice): number {
  const { defaultVersion: wanted } = machine.definition;
  if (wanted === 'latest') return present.at(-1)?.version ?? -1;
  return present[0]?.version === 0 ? 0 : wanted === 'legacy' ? 1 : wanted;
}

/** Every name that a pair of this machine type may use: models, their versions, aliases. */
export function modelNames(definitions: Definitions, machine: MachineChoice, release?: string): string[] {
  const { models, aliases } = definitions.modelIndex;
  const names = Object.keys(models).flatMap((base) => {
    const present = definitions.model(base).versions.filter((one) => onMachine(one.releases, machine, release));
    return present.length ? [base, ...present.filter((v) => v.version > 0).map((v) => `${base}-v${v.version}`)] : [];
  });
  const known = new Set(names);
  return [...names, ...Object.keys(aliases).filter((alias) => known.has(aliases[alias]!))].sort();
}
