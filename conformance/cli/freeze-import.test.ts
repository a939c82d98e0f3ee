import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { cachedQemu } from '../packages/qemu-trees.js';
import { runCli } from './run-cli.js';

// A whole QEMU is asked for every model on every machine type.
t.setTimeout(600_000);

const MACHINE = 'pc-i440fx-99.0';

/** A folder with a machine type of one's own, which takes a feature from a model. */
function ownMachine(folder: string, feature: string): string {
  const put = (path: string, value: object): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), JSON.stringify(value));
  };
  const schema = 'guest-abi/machine-type-index/1';
  put('machine-types/index.json', { schema, machines: [MACHINE], aliases: {}, newest: {} });
  put(`machine-types/${MACHINE}.json`, {
    schema: 'guest-abi/machine-type/1',
    name: MACHINE,
    newer: 'pc-next',
    releases: ['11.1'],
    defaultVersion: 1,
    kvmDefaults: {},
    compat: [{ type: 'Nehalem-x86_64-cpu', property: feature, value: 'off' }],
  });
  return folder;
}

const read = (file: string) =>
  JSON.parse(readFileSync(file, 'utf8')) as { tables: { pairs: Record<string, string[]> }[] };

void t.test('freeze writes contracts of a new machine type, once, and refuses another table', async (t) => {
  const folder = ownMachine(t.testdir(), 'ssse3');
  const first = await runCli(['freeze', '--machine', MACHINE, '--corpora', folder, '--json']);
  t.equal(first.code, 0, first.stderr);
  const { added, changed } = JSON.parse(first.stdout) as { added: string[]; changed: string[] };
  t.ok([...added, ...changed].includes('contracts/Nehalem.json'));
  const { tables } = read(join(folder, 'contracts/Nehalem.json'));
  const machinesWith = (model: string) =>
    tables.map(({ pairs }) => pairs[model] ?? []).find((one) => one.includes(MACHINE));
  t.same(machinesWith('Nehalem'), [MACHINE], 'a table of its own');
  t.ok(machinesWith('Nehalem-v1')!.length > 1, 'the entry binds to the unversioned type, as in QEMU');
  const again = await runCli(['freeze', '--machine', MACHINE, '--corpora', folder]);
  t.match(again.stdout, /frozen already/);
  const before = readdirSync(join(folder, 'contracts')).length;
  ownMachine(folder, 'sse4.1');
  const refused = await runCli(['freeze', '--machine', MACHINE, '--corpora', folder]);
  t.equal(refused.code, 2);
  t.match(refused.stderr, /pc-i440fx-99\.0\/Nehalem.* has a contract with another table/);
  t.equal(readdirSync(join(folder, 'contracts')).length, before);
});

void t.test('freezing what was released changes nothing', async (t) => {
  const folder = t.testdir();
  const { code, stdout } = await runCli(['freeze', '--machine', 'pc-i440fx-2.3', '--out', folder]);
  t.equal(code, 0);
  t.match(stdout, /frozen already, nothing to write/);
  t.same(readdirSync(folder), []);
});

for (const release of ['5.2', '7.2', '10.0', '11.1']) {
  void t.test(`import of QEMU ${release} gives the committed definitions back`, async (t) => {
    if (!existsSync('/dev/kvm')) return t.plan(0, 'no /dev/kvm: QEMU answers for KVM only on it');
    if (!(await cachedQemu(release))) return t.plan(0, `QEMU ${release} is not in the cache`);
    t.setTimeout(600_000);
    const folder = t.testdir();
    const { code, stdout, stderr } = await runCli(['import', 'qemu', '--release', release, '--out', folder, '--json']);
    t.equal(code, 0, stderr);
    const report = JSON.parse(stdout) as Record<string, unknown[]>;
    const { added, changed, unexplained, needless, withoutCaches, unknownProperties, notHeld } = report;
    t.same([added, changed], [[], []]);
    t.same([unexplained, needless, withoutCaches, unknownProperties], [[], [], [], []]);
    // QEMU tells its compat properties since 9.1; of host's, which follows its machine, we hold none.
    t.match(notHeld, release === '10.0' ? [{ type: 'host-x86_64-cpu', property: 'host-cache-info' }] : []);
    t.equal(notHeld!.length, release === '10.0' ? 1 : 0);
    t.same(readdirSync(folder), []);
  });
}
