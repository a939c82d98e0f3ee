/** A release as the definitions know it, in the shape in which a QEMU is asked: so that a new one can be derived together with it. */
import type { Definitions, PropertyValue } from '../../corpora/definitions.js';
import { featureDictionary } from '../../corpora/features.js';
import { chooseMachine } from '../../reference-vmm/cpu-model/machine.js';
import { modelNames } from '../../reference-vmm/cpu-model/model.js';
import type { Accelerator } from '../../reference-vmm/cpu-model/properties.js';
import { pairInputs, resolveCpu } from '../../reference-vmm/cpu-model/resolve.js';
import { type CpuDefinitionInfo, Release, type ReleaseDump } from './release.js';

type Values = Readonly<Record<string, PropertyValue>>;

/** The releases that definitions were made of, oldest first. */
export const knownReleases = (definitions: Definitions): string[] => Object.keys(definitions.machineIndex.newest);

/** What a release says, as far as the definitions hold it: their whole content, but for what no QEMU tells over QMP. */
export function knownRelease(definitions: Definitions, name: string): Release {
  const machines = definitions.machineIndex.machines.filter((machine) =>
    definitions.machine(machine).releases.includes(name),
  );
  const hashes = new Map<string, string>();
  const maps: Record<string, Values> = {};
  const properties = propertiesOfRelease(definitions, name);
  /** Many machine types make the same of a model: each is resolved once. */
  const byInputs = new Map<string, string>();
  const pairsOf = (accelerator: Accelerator, machine: string): Record<string, string> => {
    const choice = chooseMachine(definitions, machine, name);
    return Object.fromEntries(
      modelNames(definitions, choice, name).map((cpu) => {
        const inputs = `${accelerator} ${pairInputs(machine, cpu, definitions, { accelerator, release: name }).text}`;
        const same = byInputs.get(inputs);
        if (same !== undefined) return [cpu, same];
        const resolved = resolveCpu({ machine, cpu, release: name, definitions, accelerator }).cpu.properties;
        const values = properties.map((property) => resolved.get(property) ?? false);
        const key = values.join('\0');
        const known = hashes.get(key) ?? `${hashes.size}`;
        hashes.set(key, known);
        byInputs.set(inputs, known);
        maps[known] ??= Object.fromEntries(properties.map((property, i) => [property, values[i]!]));
        return [cpu, known];
      }),
    );
  };
  const pairs = {
    kvm: Object.fromEntries(machines.map((machine) => [machine, pairsOf('kvm', machine)])),
    tcg: Object.fromEntries(machines.map((machine) => [machine, pairsOf('tcg', machine)])),
  };
  const models = [...new Set(Object.values(pairs.kvm).flatMap((one) => Object.keys(one)))];
  const dump: ReleaseDump = {
    machines: machines.filter((machine) => !definitions.machine(machine).follows),
    models,
    aliases: aliasesOf(definitions, models),
    defs: deprecatedOf(definitions, name),
    default: {},
    maps,
    notes: notesOf(definitions),
    hidden: hiddenOf(definitions, models),
    pairs,
  };
  return new Release(name, dump);
}

function propertiesOfRelease({ cpuClass }: Definitions, release: string): string[] {
  const all = [...featureDictionary().names(), ...Object.keys(cpuClass.properties)];
  return all.filter((name) => name !== 'hv-vendor-id' && (cpuClass.onlyIn[name]?.includes(release) ?? true));
}

function aliasesOf(definitions: Definitions, models: readonly string[]): Record<string, string> {
  const { aliases } = definitions.modelIndex;
  return Object.fromEntries(models.flatMap((name) => (aliases[name] === undefined ? [] : [[name, aliases[name]]])));
}

const deprecatedOf = (definitions: Definitions, release: string): CpuDefinitionInfo[] =>
  Object.keys(definitions.modelIndex.models).flatMap((name) =>
    definitions.model(name).deprecated.includes(release) ? [{ name: `${name}-v1`, deprecated: true }] : [],
  );

const notesOf = (definitions: Definitions): Record<string, string> =>
  Object.fromEntries(
    Object.keys(definitions.modelIndex.models).flatMap((name) =>
      definitions.model(name).versions.flatMap(({ version, note }) => (note ? [[`${name}-v${version}`, note]] : [])),
    ),
  );

/** Nested-virtualization controls of each version: QEMU shows them only with vmx. */
function hiddenOf(definitions: Definitions, models: readonly string[]): Record<string, string[]> {
  return Object.fromEntries(
    models.flatMap((name) => {
      const [, base, version] = /^(.*)-v(\d+)$/.exec(name) ?? [];
      if (base === undefined) return [];
      const model = definitions.model(base);
      const own = model.versions.filter((one) => one.version <= Number(version));
      const all: Record<string, PropertyValue> = Object.assign({}, model.properties, ...own.map((v) => v.properties));
      return [[name, Object.keys(all).filter((property) => property.startsWith('vmx-') && all[property] === true)]];
    }),
  );
}
