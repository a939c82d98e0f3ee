/** Asks a running QEMU for the declared properties of every CPU model on every versioned machine type, under each accelerator. */
import { createHash } from 'node:crypto';
import { type Progress, silent } from '../packages/progress.js';
import type { QemuLauncher } from '../packages/qemu-trees.js';
import { QemuProcess } from './qemu-process.js';
import type { QmpClient } from './qmp-client.js';
import { isOfCpu, type SaidCompat } from './said-compat.js';

export type PropertyValue = boolean | number | string;
export type Properties = Readonly<Record<string, PropertyValue>>;

/** Properties that differ from the default ones; `__absent` lists those of the default that are not there. */
export type PropertyDifference = Readonly<Record<string, PropertyValue | readonly string[]>>;

export type Accelerator = 'tcg' | 'kvm';

/** One entry of `query-cpu-definitions`, as QEMU answers it. */
export interface CpuDefinition {
  readonly name: string;
  readonly typename: string;
  readonly 'alias-of'?: string;
  readonly [key: string]: unknown;
}

/**
 * What one QEMU declares: properties(accelerator, machine, model) = `default` + `maps[pairs[a][machine][model]]`, without
 * that map's `__absent`. Nothing in it is filtered by a host, but for the models `host` and `max`.
 */
export interface QemuExpansion {
  readonly qemu: {
    readonly package: string;
    readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number };
  };
  /** Versioned `pc` machine types, oldest first. */
  readonly machines: readonly string[];
  readonly models: readonly string[];
  /** Model to versioned model, on the newest machine type. */
  readonly aliases: Readonly<Record<string, string>>;
  /** `accelerator/machine` to the aliases that differ there: [on the newest, there (null where it has none)]. */
  readonly aliases_differ_in: Readonly<
    Record<string, Readonly<Record<string, readonly [string | null, string | null]>>>
  >;
  readonly defs: readonly CpuDefinition[];
  readonly default: Properties;
  readonly maps: Readonly<Record<string, PropertyDifference>>;
  readonly pairs: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>>;
  /** As of `Overview`. */
  readonly compat?: Readonly<Record<string, readonly SaidCompat[]>>;
  /** Questions that QEMU answered with an error. */
  readonly errors: readonly string[];
}

export interface ExpansionOptions {
  /** Default: both. Leave `kvm` out where there is no /dev/kvm. */
  readonly accelerators?: readonly Accelerator[];
  /** Machine types to ask; default all versioned `pc` ones and `microvm`. */
  readonly machines?: readonly string[];
  /** QEMUs at a time; default 2. */
  readonly workers?: number;
  readonly onProgress?: Progress;
}

/** Answers of one machine type under one accelerator. */
interface MachineAnswers {
  readonly accelerator: Accelerator;
  readonly machine: string;
  readonly aliases: Readonly<Record<string, string>>;
  readonly models: ReadonlyMap<string, Properties>;
  readonly errors: readonly string[];
}

/** Runs one QEMU per machine type and accelerator. Throws `MachineError` where QEMU does not start. */
export async function expandQemu(launcher: QemuLauncher, options: ExpansionOptions = {}): Promise<QemuExpansion> {
  const overview = await askOverview(launcher);
  const machines = options.machines ?? [...overview.machines, 'microvm'];
  const jobs = (options.accelerators ?? ['tcg', 'kvm']).flatMap((accelerator) =>
    machines.map((machine) => ({ accelerator, machine })),
  );
  const answers = await inParallel(jobs, options.workers ?? 2, options.onProgress ?? silent, launcher, overview.models);
  return combine(overview, answers);
}

/** What a QEMU has. */
export interface Overview {
  readonly qemu: QemuExpansion['qemu'];
  /** Versioned `pc` machine types, oldest first. */
  readonly machines: readonly string[];
  readonly models: readonly string[];
  readonly defs: readonly CpuDefinition[];
  readonly aliases: Readonly<Record<string, string>>;
  /** Machine type -> its compat properties of CPUs, in QEMU's order; absent where it does not tell them. */
  readonly compat?: Readonly<Record<string, readonly SaidCompat[]>>;
}

/** Asks a QEMU what it has. Throws `MachineError` where it does not start. */
export async function askOverview(launcher: QemuLauncher): Promise<Overview> {
  await using qemu = await QemuProcess.start(launcher, ['-machine', 'pc', '-accel', 'tcg']);
  const all = await askMachines(qemu.qmp);
  const defs = (await qemu.qmp.execute('query-cpu-definitions')) as CpuDefinition[];
  return {
    qemu: (await qemu.qmp.execute('query-version')) as QemuExpansion['qemu'],
    machines: sortMachines(all.map(({ name }) => name).filter((name) => VERSIONED.test(name))),
    models: defs.map(({ name }) => name).sort(byText),
    defs,
    aliases: aliasesOf(defs),
    ...(all.some((one) => one['compat-props']) ? { compat: compatOf(all) } : {}),
  };
}

interface MachineInfo {
  readonly name: string;
  readonly 'compat-props'?: readonly SaidCompat[];
}

/** With their compat properties, where QEMU tells them (9.1). */
async function askMachines(qmp: QmpClient): Promise<readonly MachineInfo[]> {
  try {
    return (await qmp.execute('query-machines', { 'compat-props': true })) as MachineInfo[];
  } catch (error) {
    if ((error as { code?: string }).code !== 'qmp-command') throw error;
    return (await qmp.execute('query-machines')) as MachineInfo[];
  }
}

const compatOf = (machines: readonly MachineInfo[]): Record<string, readonly SaidCompat[]> =>
  Object.fromEntries(
    machines
      .filter(({ name }) => VERSIONED.test(name))
      .map(({ name, 'compat-props': said = [] }) => [name, said.filter(isOfCpu)]),
  );

const VERSIONED = /^pc(-i440fx|-q35)?-\d/;

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** i440fx types before q35 types, each by version. */
export function sortMachines(names: readonly string[]): string[] {
  const key = (name: string): number[] => [
    name.includes('q35') ? 1 : 0,
    ...(name.match(/\d+/g) ?? []).slice(name.includes('-q35-') || name.includes('-i440fx-') ? 1 : 0).map(Number),
  ];
  return [...names].sort((a, b) => {
    const [left, right] = [key(a), key(b)];
    const at = left.findIndex((part, i) => part !== right[i]);
    return at === -1 ? left.length - right.length : left[at]! - (right[at] ?? -1);
  });
}

const aliasesOf = (defs: readonly CpuDefinition[]): Record<string, string> =>
  Object.fromEntries(
    defs
      .flatMap((def) => (def['alias-of'] ? [[def.name, def['alias-of']] as const] : []))
      .sort(([a], [b]) => byText(a, b)),
  );

async function inParallel(
  jobs: readonly { accelerator: Accelerator; machine: string }[],
  workers: number,
  onProgress: Progress,
  launcher: QemuLauncher,
  models: readonly string[],
): Promise<MachineAnswers[]> {
  const answers: MachineAnswers[] = [];
  const known = new Map<string, Properties>();
  const waiting = [...jobs];
  const work = async (): Promise<void> => {
    for (let job = waiting.shift(); job; job = waiting.shift()) {
      answers.push(await askMachine(launcher, job.accelerator, job.machine, models, known));
      onProgress({ step: `machine types of QEMU ${launcher.version}`, done: answers.length, total: jobs.length });
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
  return answers;
}

async function askMachine(
  launcher: QemuLauncher,
  accelerator: Accelerator,
  machine: string,
  names: readonly string[],
  known: Map<string, Properties>,
): Promise<MachineAnswers> {
  await using qemu = await QemuProcess.start(launcher, ['-machine', machine, '-accel', accelerator]);
  const defs = (await qemu.qmp.execute('query-cpu-definitions', {}, 60_000)) as CpuDefinition[];
  const models = new Map<string, Properties>();
  const errors: string[] = [];
  for (const name of names) {
    const answer = await expand(qemu.qmp, name, known);
    if (typeof answer === 'string') errors.push(`${accelerator}/${machine}/${name}: ${answer}`);
    else models.set(name, answer);
  }
  return { accelerator, machine, aliases: aliasesOf(defs), models, errors };
}

/** Properties of one CPU's place in one machine, not of its model; and Hyper-V's vendor, a string that no model sets. */
const PLACE: ReadonlySet<string> = new Set([
  ...['apic-id', 'node-id', 'socket-id', 'die-id', 'module-id', 'core-id', 'thread-id'],
  ...['memory', 'realized', 'hotplugged', 'hotpluggable', 'hv-vendor-id'],
]);

/** Equal answers are one object: machine types have much in common. Or QEMU's error. */
async function expand(qmp: QmpClient, name: string, known: Map<string, Properties>): Promise<Properties | string> {
  try {
    const answer = await qmp.execute('query-cpu-model-expansion', { type: 'full', model: { name } }, 60_000);
    const { props } = (answer as { model: { props: Record<string, PropertyValue> } }).model;
    for (const key of PLACE) delete props[key];
    const text = JSON.stringify(props);
    const properties = known.get(text) ?? props;
    known.set(text, properties);
    return properties;
  } catch (error) {
    if ((error as { code?: string }).code === 'qmp-command') return (error as Error).message;
    throw error;
  }
}

function combine(overview: Overview, answers: readonly MachineAnswers[]): QemuExpansion {
  const defaults = commonProperties(answers);
  const maps: Record<string, PropertyDifference> = {};
  const pairs: Record<string, Record<string, Record<string, string>>> = {};
  const hashOf = memoized((properties: Properties): string => {
    const difference = differenceOf(properties, defaults);
    const hash = createHash('sha256').update(JSON.stringify(difference)).digest('hex').slice(0, 16);
    maps[hash] = difference;
    return hash;
  });
  const differing: Record<string, Record<string, readonly [string | null, string | null]>> = {};
  for (const { accelerator, machine, models, aliases } of [...answers].sort(byPlace)) {
    const hashes = Object.fromEntries([...models].map(([name, properties]) => [name, hashOf(properties)]));
    pairs[accelerator] = { ...pairs[accelerator], [machine]: hashes };
    const differ = differingAliases(overview.aliases, aliases);
    if (Object.keys(differ).length > 0) differing[`${accelerator}/${machine}`] = differ;
  }
  const { qemu, machines, models, aliases, defs, compat } = overview;
  const sorted = Object.fromEntries(Object.entries(maps).sort(([a], [b]) => byText(a, b)));
  const errors = answers.flatMap((answer) => answer.errors).sort(byText);
  return {
    qemu,
    machines,
    models,
    aliases,
    aliases_differ_in: differing,
    defs,
    default: defaults,
    maps: sorted,
    pairs,
    ...(compat ? { compat } : {}),
    errors,
  };
}

function memoized<T extends object, R>(work: (value: T) => R): (value: T) => R {
  const done = new Map<T, R>();
  return (value) => {
    const result = done.has(value) ? done.get(value)! : work(value);
    done.set(value, result);
    return result;
  };
}

const byPlace = (a: MachineAnswers, b: MachineAnswers): number =>
  byText(a.accelerator, b.accelerator) || byText(a.machine, b.machine);

/** Each property's most frequent value; of equally frequent ones the first by its JSON text. */
function commonProperties(answers: readonly MachineAnswers[]): Properties {
  const times = new Map<Properties, number>();
  for (const { models } of answers) for (const one of models.values()) times.set(one, (times.get(one) ?? 0) + 1);
  const counts = new Map<string, Map<string, number>>();
  for (const [properties, count] of times) {
    for (const [key, value] of Object.entries(properties)) {
      const values = counts.get(key) ?? new Map<string, number>();
      const text = JSON.stringify(value);
      counts.set(key, values.set(text, (values.get(text) ?? 0) + count));
    }
  }
  const common = (values: Map<string, number>): string =>
    [...values].sort((a, b) => b[1] - a[1] || byText(a[0], b[0]))[0]![0];
  return Object.fromEntries(
    [...counts].sort(([a], [b]) => byText(a, b)).map(([key, values]) => [key, JSON.parse(common(values))]),
  );
}

function differenceOf(properties: Properties, defaults: Properties): PropertyDifference {
  const absent = Object.keys(defaults).filter((key) => !(key in properties));
  const changed = Object.entries(properties).filter(([key, value]) => value !== defaults[key]);
  const entries: [string, PropertyValue | string[]][] =
    absent.length > 0 ? [...changed, ['__absent', absent]] : changed;
  return Object.fromEntries(entries.sort(([a], [b]) => byText(a, b)));
}

function differingAliases(
  newest: Readonly<Record<string, string>>,
  here: Readonly<Record<string, string>>,
): Record<string, readonly [string | null, string | null]> {
  const names = [...new Set([...Object.keys(newest), ...Object.keys(here)])].sort(byText);
  const pairs = names.map((name) => [name, [newest[name] ?? null, here[name] ?? null] as const] as const);
  return Object.fromEntries(pairs.filter(([, [a, b]]) => a !== b));
}

/** The whole property map of a pair. Throws `RangeError` where the expansion has none. */
export function propertiesOf(
  expansion: QemuExpansion,
  accelerator: string,
  machine: string,
  model: string,
): Properties {
  const difference = expansion.maps[expansion.pairs[accelerator]?.[machine]?.[model] ?? ''];
  if (!difference) throw new RangeError(`no properties of ${machine}/${model} under ${accelerator}`);
  const { __absent: absent = [], ...changed } = difference;
  const entries = Object.entries({ ...expansion.default, ...(changed as Properties) });
  return Object.fromEntries(entries.filter(([key]) => !(absent as readonly string[]).includes(key)));
}
