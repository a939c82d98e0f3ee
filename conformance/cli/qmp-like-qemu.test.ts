/** Our QMP beside a real QEMU 11.1: the same questions, and what the two answers have in common. Skipped where QEMU is not in the cache. */
import { join } from 'node:path';
import t from 'tap';
import { builtInDefinitions } from '../../corpora/definitions.js';
import { shortFolder } from '../../corpora/short-folder.js';
import { expandModel } from '../../reference-vmm/control/cpu-model-info.js';
import { featureWords } from '../../reference-vmm/control/feature-words.js';
import { checkArguments } from '../../reference-vmm/control/qmp-arguments.js';
import { REPLIES } from '../../reference-vmm/control/qmp-replies.js';
import { resolveCpu } from '../../reference-vmm/cpu-model/resolve.js';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { QemuProcess } from '../import/qemu-process.js';
import { type QmpClient, QmpCommandError } from '../import/qmp-client.js';
import { cachedQemu } from '../packages/qemu-trees.js';
import { RunMachine, writerImage } from './run-machine.js';

const qemu = await cachedQemu('11.1');
const folder = shortFolder(t);
const needsQemu = { skip: !qemu && 'QEMU 11.1 is not in the cache' };
const needsBoth = { skip: needsQemu.skip || needsKvm.skip };
const MACHINE = 'pc-i440fx-11.1';

const startQemu = (cpu: string) =>
  QemuProcess.start(qemu!, [
    '-machine',
    MACHINE,
    '-cpu',
    cpu,
    '-accel',
    'tcg',
    '-smp',
    '2',
    '-m',
    '16',
    '-name',
    'box',
  ]);
const startOurs = () =>
  RunMachine.start(join(folder, 'qmp'), [
    ...['--machine', MACHINE, '--cpu', 'Nehalem,+aes', '--smp', '2', '--name', 'box', '-S'],
    ...['--kernel', writerImage(folder)],
  ]);

interface Answer {
  readonly value?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
}

async function ask(qmp: QmpClient, command: string, args: object): Promise<Answer> {
  try {
    return { value: await qmp.execute(command, args) };
  } catch (error) {
    if (!(error instanceof QmpCommandError)) throw error;
    return { error: { class: error.qmpClass, desc: error.message.replace(`QMP ${command}: `, '') } };
  }
}

/** Names and types, without values; of a list, each kind of element once. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return [...new Set(value.map((one) => JSON.stringify(shapeOf(one))))].sort();
  if (typeof value !== 'object' || value === null) return typeof value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([name, one]): [string, unknown] => [name, shapeOf(one)])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

const CPU = '/machine/unattached/device[0]';
const expansion = (type: string, name: string, props: object = {}) => ({ type, model: { name, props } });

/** Asked in this order; the guest does not run yet. */
const SAME_ANSWERS: readonly [command: string, args: object][] = [
  ['query-status', {}],
  ['query-name', {}],
  ['query-uuid', {}],
  ['query-target', {}],
  ['query-migrate', {}],
  ['query-jobs', {}],
  ['migrate_cancel', {}],
  ['qom-get', { path: CPU, property: 'type' }],
  ['qom-get', { path: CPU, property: 'family' }],
  ['qom-get', { path: CPU, property: 'aes' }],
  ['qom-get', { path: CPU, property: 'apic-id' }],
  // Errors.
  ['nope', {}],
  ['stop', { x: 1 }],
  ['qom-get', { path: CPU }],
  ['qom-get', { path: '/machine/nope', property: 'type' }],
  ['qom-get', { path: CPU, property: 'nope' }],
  ['query-cpu-model-expansion', expansion('full', 'nope')],
  ['query-cpu-model-expansion', expansion('x', 'qemu64')],
  ['query-cpu-model-expansion', expansion('full', 'qemu64', { nope: true })],
  ['query-cpu-model-expansion', expansion('full', 'qemu64', { aes: 3 })],
  ['migrate', { uri: 'bad:x' }],
  ['migrate-incoming', { uri: 'unix:/x' }],
  ['migrate-set-parameters', { 'downtime-limit': 3_000_000 }],
  ['migrate-set-parameters', { nope: 2 }],
  ['migrate-set-capabilities', { capabilities: [{ capability: 'nope', state: true }] }],
  ['job-dismiss', { id: 'none' }],
];

/** Values differ; names and types do not. */
const SAME_SHAPES: readonly [command: string, args: object][] = [
  ['query-version', {}],
  ['query-kvm', {}],
  ['query-cpus-fast', {}],
  ['query-hotpluggable-cpus', {}],
  ['query-commands', {}],
  ['query-cpu-model-expansion', expansion('static', 'Nehalem')],
  ['qom-get', { path: CPU, property: 'filtered-features' }],
  ['qom-get', { path: CPU, property: 'unavailable-features' }],
];

void t.test('answers and errors are those of QEMU', needsBoth, async (t) => {
  await using theirs = await startQemu('Nehalem,+aes');
  await using ours = await startOurs();
  for (const [command, args] of SAME_ANSWERS) {
    const wanted = await ask(theirs.qmp, command, args);
    t.strictSame(
      await ask(ours.qmp, command, args),
      wanted,
      `${command} ${JSON.stringify(args)}: ${JSON.stringify(wanted)}`,
    );
  }
  for (const [command, args] of SAME_SHAPES) {
    const [wanted, got] = [await ask(theirs.qmp, command, args), await ask(ours.qmp, command, args)];
    t.strictSame(shapeOf(got), shapeOf(wanted), command);
  }
  const models = async (qmp: QmpClient) => (await qmp.execute('query-cpu-definitions')) as { name: string }[];
  // What a model lacks is the host's word.
  const what = ({ name, ...rest }: { name: string }) => [name, shapeOf({ ...rest, 'unavailable-features': [] })];
  const [wanted, got] = [await models(theirs.qmp), await models(ours.qmp)];
  t.strictSame(new Map(got.map(what) as []), new Map(wanted.map(what) as []), 'every model, alias or not');
  const machines = (await theirs.qmp.execute('query-machines')) as Record<string, unknown>[];
  const known = new Set(machines.flatMap((machine) => Object.keys(machine)));
  for (const machine of (await ours.qmp.execute('query-machines')) as Record<string, unknown>[])
    t.strictSame(
      Object.keys(machine).filter((name) => !known.has(name)),
      [],
      String(machine.name),
    );
});

interface SchemaInfo {
  readonly name: string;
  readonly 'meta-type': string;
  readonly 'json-type'?: string;
  readonly 'arg-type'?: string;
  readonly 'ret-type'?: string;
  readonly 'element-type'?: string;
  readonly members?: readonly { readonly name: string; readonly type?: string; readonly default?: null }[];
}

/**
 * What QEMU 11.1 does not have, has for other targets than x86, or has otherwise: `detach` and a `uri` that must be given are of older releases, its
 * texts of TLS may be null.
 */
const OURS = new RegExp(
  [
    /^(migrate-set|query-migrate)-parameters\.(max-rounds|silence-limit|when-not-converging|tls-creds|tls-hostname)$/,
    /^query-migrate\.notes(\[\])?$/,
    /^query-qmp-schema|-comparison|-baseline|\.deprecated-props/,
    /^migrate\.detach$|^migrate-incoming\.uri$/,
  ]
    .map(({ source }) => source)
    .join('|'),
);

/** Deeper than any of ours. */
const DEPTH = 6;

/** Every place under a command or event: `migrate.uri`: its JSON type, and whether it may be left out. */
function placesOf(schema: readonly SchemaInfo[], names: ReadonlySet<string>): Map<string, string> {
  const byName = new Map(schema.map((info) => [info.name, info]));
  const places = new Map<string, string>();
  const walk = (at: string, type: string, optional: boolean): void => {
    const info = byName.get(type)!;
    const what = info['json-type'] ?? info['meta-type'].replace('enum', 'string');
    const built = /^(int|integer|number)$/.test(what) ? 'number' : what;
    places.set(at, `${built}${optional ? ', may be left out' : ''}`);
    // QEMU's types hold themselves.
    if (at.split(/[.[]/).length > DEPTH) return;
    if (info['element-type']) walk(`${at}[]`, info['element-type'], false);
    if (info['meta-type'] === 'object')
      for (const { name, type: of, ...rest } of info.members!) if (of) walk(`${at}.${name}`, of, 'default' in rest);
  };
  for (const { name, ...info } of schema.filter((one) => names.has(one.name))) {
    if (info['arg-type']) walk(name, info['arg-type'], false);
    if (info['ret-type']) walk(`${name}()`, info['ret-type'], false);
  }
  return places;
}

void t.test('the schema says of each command, argument, reply and event what QEMU says', needsBoth, async (t) => {
  await using theirs = await startQemu('Nehalem');
  await using ours = await startOurs();
  const told = async (qmp: QmpClient) => (await qmp.execute('query-qmp-schema')) as SchemaInfo[];
  const schema = await told(ours.qmp);
  const names = new Set(schema.filter((one) => /command|event/.test(one['meta-type'])).map(({ name }) => name));
  const [wanted, got] = [placesOf(await told(theirs.qmp), names), placesOf(schema, names)];
  const other = [...got].filter(
    ([place, what]) => !OURS.test(place.replace('()', '')) && what !== 'value' && wanted.get(place) !== what,
  );
  t.strictSame(
    other.map(([place, what]) => `${place}: ${what}, QEMU ${wanted.get(place)}`),
    [],
  );
  const commands = (await ours.qmp.execute('query-commands')) as { name: string }[];
  const kinds = (kind: string) => schema.filter((info) => info['meta-type'] === kind).map(({ name }) => name);
  t.strictSame(kinds('command').sort(), commands.map(({ name }) => name).sort());
  t.ok(kinds('event').includes('MIGRATION'));
});

void t.test('what is told is as the schema has it', needsBoth, async (t) => {
  await using ours = await startOurs();
  for (const [command, type] of Object.entries(REPLIES).filter(([name]) => /^query-(?!cpu-model)/.test(name))) {
    const reply = { [command]: await ours.qmp.execute(command) };
    t.doesNotThrow(() => checkArguments(reply, { [command]: type }), command);
  }
});

void t.test('a background snapshot is told as QEMU tells it', needsBoth, async (t) => {
  await using theirs = await startQemu('Nehalem');
  await using ours = await startOurs();
  const told = async (qmp: QmpClient, file: string) => {
    const capabilities = ['events', 'background-snapshot'].map((capability) => ({ capability, state: true }));
    await qmp.execute('migrate-set-capabilities', { capabilities });
    await qmp.execute('cont');
    const statuses: string[] = [];
    const over = qmp.waitFor('MIGRATION', 20_000, (data) => {
      statuses.push((data as { status: string }).status);
      return ['completed', 'failed'].includes(statuses.at(-1)!);
    });
    await qmp.execute('migrate', { uri: `file:${join(folder, file)}` });
    await over;
    return { statuses, info: shapeOf(await qmp.execute('query-migrate')) };
  };
  t.strictSame(await told(ours.qmp, 'ours'), await told(theirs.qmp, 'theirs'));
});

/** Properties of QEMU's objects that are no properties of a CPU model: places in the machine, and spellings that it drops. */
const NOT_OURS = new Set([
  ...['core-id', 'thread-id', 'apic-id', 'node-id', 'die-id', 'socket-id', 'module-id', 'memory', 'realized'],
  ...['hv-apicv', 'lbr_fmt', 'x-force-features'],
]);
const MODELS = ['qemu64', 'Nehalem-v2', 'EPYC-Milan', 'SapphireRapids', 'Opteron_G1', 'pentium2', 'base', 'YongFeng'];

void t.test('expansions and feature words are those of QEMU, value by value', needsQemu, async (t) => {
  const place = { machine: MACHINE, definitions: builtInDefinitions(), accelerator: 'tcg' as const };
  for (const name of MODELS) {
    // Else TCG's lacks are filtered.
    await using theirs = await startQemu(`${name},x-force-features=on`);
    const props = { aes: true, 'min-level': 7 };
    for (const type of ['static', 'full'] as const) {
      const answer = (await theirs.qmp.execute('query-cpu-model-expansion', { type, model: { name, props } })) as {
        model: { name: string; props: Record<string, unknown> };
      };
      const ours = expandModel(type, { name, props }, place);
      const wanted = Object.entries(answer.model.props).filter(([prop]) => !NOT_OURS.has(prop));
      t.equal(ours.name, answer.model.name);
      const got = Object.entries(ours.props!).filter(([prop]) => !NOT_OURS.has(prop));
      t.strictSame(sorted(got), sorted(wanted), `${type} ${name}`);
    }
    const words = (await theirs.qmp.execute('qom-get', { path: CPU, property: 'feature-words' })) as Word[];
    const { cpu } = resolveCpu({ ...place, cpu: name, smp: '2' });
    t.strictSame(sorted(featureWords(cpu).map(wordEntry)), sorted(words.map(wordEntry)), `words of ${name}`);
  }
});

interface Word {
  readonly 'cpuid-input-eax': number;
  readonly 'cpuid-input-ecx'?: number;
  readonly 'cpuid-register': string;
  readonly features: number;
}
const wordEntry = (word: Word): [string, unknown] => [
  `${word['cpuid-input-eax'].toString(16)}.${word['cpuid-input-ecx'] ?? ''}.${word['cpuid-register']}`,
  word.features.toString(16),
];
const sorted = (entries: readonly (readonly [string, unknown])[]) => [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
