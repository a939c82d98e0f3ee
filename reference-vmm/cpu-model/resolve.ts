/** Resolves a pair to its CPU identity: the one entry to this folder. */
import { builtInDefinitions, type Definitions, type PropertyValue } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';
import { featureDictionary } from '../../corpora/features.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import type { CpuIdentity, MsrValue, SmpShape } from '../../corpora/identity.js';
import { type CpuSpec, formatPair, parseCpu } from '../../corpora/pair.js';
import { formatSmp, ONE_CPU, parseSmp } from '../../corpora/smp.js';
import { bestModel } from './best-model.js';
import { refuseContradictions } from './contradictions.js';
import { ExpandedCpu } from './cpu.js';
import { filterCpu } from './enforce.js';
import { type Expansion, expand } from './expand.js';
import { type HostModel, hostFor, hostModelChoice, hostProperties, isHostModel, physBits } from './host-model.js';
import { checkAddressSizes } from './leaves-extended.js';
import { chooseMachine, type MachineChoice } from './machine.js';
import { chooseModel, findModel, type ModelChoice, modelNames } from './model.js';
import { resetMsrs } from './msrs.js';
import {
  type Accelerator,
  applyOptions,
  baseProperties,
  idOfText,
  type PropertyMap,
  propertiesText,
} from './properties.js';
import { cpuidTables } from './table.js';

export interface ResolveRequest {
  readonly machine: string;
  /** A `-cpu` string, or one taken apart. */
  readonly cpu: string | CpuSpec;
  /** Default: one CPU. A `-smp` string is completed as the machine type does. */
  readonly smp?: SmpShape | string;
  /** Default: the definitions of the package. */
  readonly definitions?: Definitions;
  /**
   * As this QEMU release has it (`7.2`), for comparing with it. Default: the oldest release that has the machine type and the
   * model, which is what the contract says.
   */
  readonly release?: string;
  /** Default: kvm. */
  readonly accelerator?: Accelerator;
  /** The QEMU release that runs it, for what machine types do not promise: how TCG answers, what forced features show. Default: that of the machine type, or the newest. */
  readonly emulator?: string;
  /** For models `host`, `max` and `best` and for `host-phys-bits=on`, which follow it; nothing else looks at it. */
  readonly host?: HostCapabilities;
}

/** An identity before its tables, with what led to it. */
export interface ResolvedCpu {
  readonly pair: string;
  readonly machine: MachineChoice;
  readonly model: ModelChoice;
  /** The release whose word it is; null for an unversioned machine type. */
  readonly release: string | null;
  readonly cpu: ExpandedCpu;
  readonly expansion: Expansion;
}

/** Looks up and expands a pair, without writing tables. Throws as `resolve` does. */
export function resolveCpu(request: ResolveRequest): ResolvedCpu {
  const definitions = request.definitions ?? builtInDefinitions();
  const spec = typeof request.cpu === 'string' ? parseCpu(request.cpu) : request.cpu;
  const machine = chooseMachine(definitions, request.machine, request.release);
  if (isHostModel(spec.model)) return resolveHostModel(spec.model, spec, machine, definitions, request);
  const accelerator = request.accelerator ?? 'kvm';
  const { model, release, deviations } = choosePair(definitions, machine, spec.model, { ...request, accelerator });
  const properties = baseProperties(definitions, machine, model, accelerator, deviations);
  const given = applyOptions(properties, spec.options, definitions, release);
  if (request.host) takeHostPhysBits(properties, request.host);
  const smp = smpOf(request, machine);
  const behaviours = new Set(deviations.map(({ id }) => id));
  const expansion = expand(properties, given, smp, accelerator, behaviours);
  const { caches } = definitions;
  // With machine types that have legacy caches, others can be asked for; not so where the release knows no others for this model.
  const type = `${model.name}-x86_64-cpu`;
  const legacy = deviations.some(({ properties = [] }) =>
    properties.some((one) => one.type === type && one.property === 'legacy-cache' && one.value === true),
  );
  const cacheSet = legacy ? undefined : caches.models[model.versionName];
  refuseContradictions(properties, given, expansion, cacheSet !== undefined);
  const cpu = new ExpandedCpu({ properties, smp, board: machine.board, accelerator, behaviours, caches, cacheSet });
  checkAddressSizes(cpu);
  return { pair: formatPair({ machine: request.machine, cpu: spec }), machine, model, release, cpu, expansion };
}

/** The model of a pair, the release whose word it is, and what that release or the emulator does otherwise. */
function choosePair(
  definitions: Definitions,
  machine: MachineChoice,
  name: string,
  asked: Pick<ResolveRequest, 'release' | 'emulator'> & { readonly accelerator: Accelerator },
) {
  const model = chooseModel(definitions, machine, name, asked.release);
  const release = asked.release ?? oldestRelease(machine, model);
  const emulator = asked.emulator ?? release ?? Object.keys(definitions.machineIndex.newest).at(-1)!;
  const deviations = definitions.deviations.filter((one) => {
    if (one.accelerator && one.accelerator !== asked.accelerator) return false;
    if (one.subject) return asked.emulator !== undefined && one.releases.includes(asked.emulator);
    const whose = one.accelerator || one.forced || one.unpromised ? emulator : release;
    return whose !== null && one.releases.includes(whose);
  });
  return { model, release, deviations };
}

/**
 * Ids of what no machine type holds and `emulator`, a QEMU release, does otherwise than the pair's contract says (its own release does, or does not).
 * Throws as `resolve` does.
 */
export function unpromisedUnder(
  emulator: string,
  {
    machine,
    cpu,
    definitions = builtInDefinitions(),
  }: Pick<ResolveRequest, 'definitions'> & { machine: string; cpu: string },
): string[] {
  const choice = chooseMachine(definitions, machine);
  const [ours, theirs] = [undefined, emulator].map((release) => {
    const asked = { accelerator: 'kvm', ...(release && { emulator: release }) } as const;
    const { deviations } = choosePair(definitions, choice, parseCpu(cpu).model, asked);
    return new Set(deviations.filter((one) => one.subject || one.unpromised).map(({ id }) => id));
  });
  return [...ours!, ...theirs!].filter((id) => ours!.has(id) !== theirs!.has(id));
}

/** True unless this QEMU release is known to have no such model on this machine type. */
export const releaseHasModel = (
  release: string,
  machine: string,
  cpu: string,
  definitions: Definitions = builtInDefinitions(),
): boolean =>
  isHostModel(cpu) || findModel(definitions, chooseMachine(definitions, machine), cpu, release) !== undefined;

/** What a pair without overrides is made of, before anything is worked out. */
export interface PairInputs {
  /** Equal for pairs, of whatever definitions, that resolve to equal properties, tables and MSRs in every SMP shape under one accelerator. */
  readonly text: string;
  /** Its properties before expansion. */
  properties(): ReadonlyMap<string, PropertyValue>;
}

/** Looks up a pair without overrides. Throws as `resolve` does. */
export function pairInputs(
  machineName: string,
  name: string,
  definitions: Definitions,
  asked: Pick<ResolveRequest, 'accelerator' | 'release'> = {},
): PairInputs {
  const accelerator = asked.accelerator ?? 'kvm';
  const machine = chooseMachine(definitions, machineName, asked.release);
  const { model, deviations } = choosePair(definitions, machine, name, { ...asked, accelerator });
  const { caches } = definitions;
  const { contiguousApicIds, prefersSockets } = machine.board;
  const board = { contiguousApicIds, prefersSockets };
  const own = JSON.stringify([caches.models[model.versionName], board, deviations.map(({ id }) => id)]);
  const parts = [definitions, machine, model, accelerator, deviations] as const;
  return {
    text: [propertiesText(...parts), own, idOf(caches.sets)].join('\n'),
    properties: () => baseProperties(...parts),
  };
}

const sharedIds = new WeakMap<object, string>();

/** For a value that many pairs share. */
function idOf(value: object): string {
  const id = sharedIds.get(value) ?? idOfText(JSON.stringify(value));
  sharedIds.set(value, id);
  return id;
}

function smpOf({ machine, smp }: ResolveRequest, { board }: MachineChoice): SmpShape {
  const shape = typeof smp === 'string' ? parseSmp(smp, !board.prefersSockets) : (smp ?? ONE_CPU);
  if (board.withoutDies && (shape.dies > 1 || shape.modules > 1))
    throw badShape(shape, `${machine} has neither dies nor modules`);
  if (shape.maxcpus > (board.maxCpus ?? shape.maxcpus))
    throw badShape(shape, `${machine} has at most ${board.maxCpus} CPUs`);
  return shape;
}

function badShape(shape: SmpShape, why: string): InputError {
  const given = formatSmp(shape);
  return new InputError('bad-smp', `-smp '${given}' is not possible: ${why}`, { given });
}

/** `host-phys-bits=on`: the CPU's own, at most `host-phys-bits-limit`. */
function takeHostPhysBits(properties: PropertyMap, { hostCpuid }: HostCapabilities): void {
  if (properties.get('host-phys-bits') !== true || properties.get('phys-bits')) return;
  const limit = properties.get('host-phys-bits-limit') as number;
  const own = physBits(hostCpuid);
  properties.set('phys-bits', limit ? Math.min(own, limit) : own);
}

/** `host`, `max`: features that follow from nothing on the host are left out; what the user asks for stays. */
function resolveHostModel(
  name: HostModel,
  spec: CpuSpec,
  machine: MachineChoice,
  definitions: Definitions,
  request: ResolveRequest,
): ResolvedCpu {
  const host = hostFor(`model '${name}'`, request.host);
  const pair = formatPair({ machine: request.machine, cpu: spec });
  if (name === 'best') {
    const resolveOne = (model: string): ResolvedCpu => resolveCpu({ ...request, cpu: { ...spec, model } });
    return { ...bestModel(realModels(request.machine, definitions), resolveOne, host), pair };
  }
  const properties = hostProperties(definitions, machine, name, host);
  const given = applyOptions(properties, spec.options, definitions);
  const smp = smpOf(request, machine);
  const expansion = expand(properties, given, smp, 'kvm');
  refuseContradictions(properties, given, expansion, false);
  const { caches } = definitions;
  const expanded = new ExpandedCpu({
    ...{ properties, smp, board: machine.board, accelerator: 'kvm' as const, caches },
    ...{ behaviours: new Set<string>(), cacheSet: undefined },
  });
  const { cpu } = filterCpu(expanded, host, given);
  return { pair, machine, model: hostModelChoice(name, host), release: null, cpu, expansion };
}

/** The contract's release: the oldest that has both; null where nothing is promised. */
function oldestRelease(machine: MachineChoice, model: ModelChoice): string | null {
  if (machine.definition.follows) return null;
  const { releases } = model.versions.at(-1)!;
  return machine.definition.releases.find((release) => releases.includes(release)) ?? null;
}

/**
 * The CPU identity of a pair: a pure function of its arguments and the definitions, never of the host.
 * Throws `InputError` for an unknown machine type, model or property, a value that a property cannot have, or a property that
 * would follow the host.
 */
export function resolve(request: ResolveRequest): CpuIdentity {
  return identityOf(resolveCpu(request), request);
}

/** The identity of a pair that is looked up already; `cpu` may be a filtered one. */
export function identityOf(
  { pair, model, cpu }: Pick<ResolvedCpu, 'pair' | 'model' | 'cpu'>,
  request: Pick<ResolveRequest, 'machine'>,
): CpuIdentity {
  const features = [...featureDictionary().names()].filter((name) => cpu.on(name)).sort();
  const vcpus = cpuidTables(cpu);
  // Most uses ask for CPUID only, and working out a pair's MSRs takes twice as long as its tables.
  let msrs: readonly MsrValue[] | undefined;
  return {
    pair,
    machine: request.machine,
    cpuModel: model.name,
    modelVersion: model.versionName,
    vendor: cpu.vendor,
    smp: cpu.smp,
    level: cpu.number('level'),
    xlevel: cpu.number('xlevel'),
    signature: { family: cpu.number('family'), model: cpu.number('model'), stepping: cpu.number('stepping') },
    features,
    vcpus,
    get msrs() {
      msrs ??= resetMsrs({ vcpus, features }, { microcodeRevision: BigInt(cpu.number('ucode-rev')) || null });
      return msrs;
    },
  };
}

/** A model as one machine type offers it. */
export interface ListedModel {
  readonly name: string;
  /** The version that the name takes here. */
  readonly version: string;
  /** The versioned model that the name is reported as an alias of; null on machine types up to 4.0. */
  readonly aliasOf: string | null;
  readonly deprecated: boolean;
  /** What QEMU notes of the version. */
  readonly note: string | null;
}

/** All models of a machine type, by name. Throws `InputError` for an unknown machine type. */
export function listModels(machineName: string, definitions: Definitions = builtInDefinitions()): ListedModel[] {
  const machine = chooseMachine(definitions, machineName);
  return modelNames(definitions, machine).map((name) => {
    const { versionName, aliasOf, definition, versions } = findModel(definitions, machine, name)!;
    const deprecated = definition.deprecated.some((release) => machine.definition.releases.includes(release));
    return { name, version: versionName, aliasOf, deprecated, note: versions.at(-1)?.note ?? null };
  });
}

/**
 * The models of a machine type without names that stand for another: versioned names where the machine type has versions, else
 * unversioned ones, to which its compat properties bind. Throws `InputError` for an unknown machine type.
 */
export function realModels(machineName: string, definitions: Definitions = builtInDefinitions()): string[] {
  const legacy = definitions.machine(machineName).defaultVersion === 'legacy';
  return listModels(machineName, definitions)
    .filter(({ name, aliasOf }) => aliasOf === null && !(legacy && /-v\d+$/.test(name)))
    .map(({ name }) => name);
}

/** A machine type as listed. */
export interface ListedMachine {
  readonly name: string;
  /** Releases of QEMU that were seen to have it, oldest first. */
  readonly releases: readonly string[];
  /** QEMU's short name for it (`pc`, `q35`). */
  readonly alias: string | null;
}

/** All machine types, oldest first. */
export function listMachines(definitions: Definitions = builtInDefinitions()): ListedMachine[] {
  const { machines, aliases } = definitions.machineIndex;
  return machines.map((name) => ({
    name,
    releases: definitions.machine(name).releases,
    alias: Object.keys(aliases).find((alias) => aliases[alias] === name) ?? null,
  }));
}
