import { cpSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseHex32 } from '../../corpora/hex.js';
import { packageFile } from '../../corpora/package-root.js';
import { ACME, ForeignRepository } from './foreign-repository.js';
import { type GitGate, gateAgainstGit } from './gate-git.js';
import { concludeGate } from './result.js';

/** One repository for all tests: each edits it and takes its edits back. */
const repository = new ForeignRepository(t.testdir());
t.beforeEach(() => repository.reset());

const gate = (...models: readonly string[]): GitGate =>
  gateAgainstGit({
    ref: 'main',
    corpora: [repository.corpora],
    wanted: ({ model }) => models.some((name) => model === name || model.startsWith(`${name}-`)),
  });

/** The patch is applied to the worktree, and the gate passes. */
function mended({ patch }: GitGate, ...models: readonly string[]): GitGate {
  repository.apply(patch!);
  return gate(...models);
}

const holds = ({ result }: GitGate): boolean => concludeGate(result) === 'holds';
const lines = ({ result }: GitGate): string[] =>
  result.findings.flatMap(({ fix }) => fix.flatMap(({ line, machines }) => machines.map((one) => `${one}: ${line}`)));
const addedParts = ({ result }: GitGate): string[] => result.added.map(({ what }) => what);

void t.test('nothing edited: every released pair is unchanged, and theirs are among them', async (t) => {
  const { result, patch } = gate('Nehalem');
  t.equal(concludeGate(result), 'holds');
  t.equal(result.totals.broken, 0);
  t.equal(result.totals.unchanged, 81 * 4 + 1, 'four names on 81 machine types, and one pair of theirs');
  t.equal(patch, null);
});

void t.test("Nehalem's level: broken by name, and the compat property mends it", async (t) => {
  repository.edit('cpu-models/intel/Nehalem.json', '"min-level": 11', '"min-level": 4');
  const broken = gate('Nehalem');
  t.equal(concludeGate(broken.result), 'broken');
  const finding = broken.result.findings.find(({ pairs }) => pairs.includes('pc-i440fx-2.4/Nehalem'))!;
  t.match(finding.causes, [{ file: 'abi/cpu-models/intel/Nehalem.json', property: 'min-level', before: 11, after: 4 }]);
  const level = finding.reasons.find(({ leaf, register }) => leaf === '0x00000000' && register === 'eax')!;
  t.same([parseHex32(level.contract!), parseHex32(level.guest!)], [11, 4]);
  t.equal(level.requirement, 'ABI-DEF-001');
  t.notOk(
    broken.result.findings.some(({ pairs }) => pairs.includes('pc-i440fx-2.3/Nehalem')),
    'machine types up to 2.3 pin the level',
  );
  t.ok(lines(broken).includes('pc-i440fx-11.1: { "Nehalem-x86_64-cpu", "min-level", "11" }'));
  const after = mended(broken, 'Nehalem');
  t.ok(holds(after));
  t.match(repository.git('status', '--short'), /machine-types\/pc-i440fx-11\.1\.json/, 'a file that they did not have');
});

void t.test('a base that nobody named and that is what the worktree holds: said, for nothing was shown', async (t) => {
  const own = () =>
    gateAgainstGit({ ref: undefined, corpora: [repository.corpora], wanted: ({ model }) => model === 'Penryn' });
  const itself = /no definition or contract is edited since git:\w+ \(HEAD\): it was compared with itself/;
  t.match(own().result.notes, [itself]);
  repository.edit('cpu-models/intel/Penryn.json', '"stepping": 3', '"stepping": 4');
  t.notMatch(own().result.notes.join(), itself);
});

void t.test('tsc-deadline added to a model', async (t) => {
  repository.edit('cpu-models/intel/Penryn.json', '"tsc": true,', '"tsc": true,\n    "tsc-deadline": true,');
  const broken = gate('Penryn');
  const [finding] = broken.result.findings;
  t.match(finding?.reasons[0], { feature: 'tsc-deadline', leaf: '0x00000001', register: 'ecx', bit: 24 });
  t.match(finding?.effects.join('\n'), /guests find tsc-deadline/);
  t.ok(
    finding?.reasons.some(({ msr }) => msr === '0x000006e0'),
    'and the MSR that comes with it',
  );
  t.ok(lines(broken).includes('pc-i440fx-11.1: { "Penryn-x86_64-cpu", "tsc-deadline", "off" }'));
  t.ok(holds(mended(broken, 'Penryn')));
});

void t.test('MPX removed from a released machine type', async (t) => {
  repository.edit('machine-types/pc-i440fx-3.1.json', /.*"Skylake-Client-x86_64-cpu", "property": "mpx".*\n/, '');
  const broken = gate('Skylake-Client');
  const [finding] = broken.result.findings;
  t.match(finding?.reasons[0], { feature: 'mpx' });
  t.match(finding?.causes[0], { file: 'abi/machine-types/pc-i440fx-3.1.json', property: 'mpx', before: true });
  t.notOk(broken.result.findings.some(({ machines }) => machines.includes('pc-i440fx-4.0')));
  t.same([...new Set(lines(broken))], ['pc-i440fx-3.1: { "Skylake-Client-x86_64-cpu", "mpx", "on" }']);
  t.ok(holds(mended(broken, 'Skylake-Client')));
  t.equal(repository.git('diff'), '', 'the patch is the edit taken back');
});

void t.test('a frozen contract edited, alone and with the definition that fits it', async (t) => {
  repository.edit('contracts/Nehalem.json', '"eax": "0x00000623"', '"eax": "0x00000622"');
  const alone = gate('Nehalem');
  t.match(alone.result.findings[0], { kind: 'contract-changed', reasons: [{ requirement: 'ABI-DEF-004' }] });
  t.match(alone.result.findings[0]?.reasons[0]?.message, /CPUID 1\.EAX\[0\]: contract 0x00000623, edited contract/);
  t.ok(holds(mended(alone, 'Nehalem')));
  t.equal(repository.git('diff'), '');

  repository.edit('cpu-models/intel/Nehalem.json', '"stepping": 3', '"stepping": 2');
  const text = repository.read('contracts/Nehalem.json');
  repository.put(
    'contracts/Nehalem.json',
    text.replaceAll(/"eax": "0x0*(6|106a)([26])3"/g, (all) => all.replace(/3"$/, '2"')),
  );
  const both = gate('Nehalem');
  t.equal(concludeGate(both.result), 'broken', 'contract and definition agree, and are both not what was promised');
  t.ok(holds(mended(both, 'Nehalem')));
});

void t.test('a pair taken out of its contract', async (t) => {
  const file = JSON.parse(repository.read('contracts/Nehalem.json')) as { tables: { pairs: object }[] };
  const tables = file.tables.filter(({ pairs }) => !JSON.stringify(pairs).includes(ACME));
  repository.put('contracts/Nehalem.json', JSON.stringify({ ...file, tables }));
  const broken = gate('Nehalem');
  t.match(broken.result.findings, [{ kind: 'contract-removed', pairs: [`${ACME}/Nehalem`] }]);
  t.ok(holds(mended(broken, 'Nehalem')));
});

void t.test('frozen MSRs edited, and an MSR that a definition alone changes', async (t) => {
  cpSync(packageFile('corpora/msr-contracts/Nehalem.json'), join(repository.corpora, 'msr-contracts/Nehalem.json'), {
    recursive: true,
  });
  repository.edit('msr-contracts/Nehalem.json', '0x0000000000000508', '0x0000000000000509');
  const edited = gate('Nehalem');
  t.match(edited.result.findings[0], { kind: 'contract-changed', causes: [{ file: /msr-contracts\/Nehalem/ }] });
  t.ok(holds(mended(edited, 'Nehalem')));

  repository.reset();
  const taken = 'cpu-models/intel/Cascadelake-Server.json';
  cpSync(packageFile(`corpora/${taken}`), join(repository.corpora, taken));
  repository.edit(taken, '"rdctl-no": true', '"rdctl-no": false');
  const definition = gate('Cascadelake-Server');
  t.match(definition.result.findings[0]?.reasons, [{ msr: '0x0000010a' }], 'a bit of a feature MSR, and nothing else');
  t.ok(holds(mended(definition, 'Cascadelake-Server')));
});

void t.test('allowed: a new version, a new machine type', async (t) => {
  const model = JSON.parse(repository.read('cpu-models/intel/Nehalem.json')) as { versions: object[] };
  const version = { version: 3, releases: ['11.1'], properties: { aes: true } };
  repository.put('cpu-models/intel/Nehalem.json', JSON.stringify({ ...model, versions: [...model.versions, version] }));
  const versions = gate('Nehalem');
  t.ok(holds(versions));
  t.ok(addedParts(versions).includes('version Nehalem-v3'));
  t.match(versions.result.notes.join('\n'), /have no contract and promise nothing until they are frozen/);
  t.ok(
    versions.affected.some(({ model: name }) => name === 'Nehalem-v3'),
    'a new table, to be booted',
  );

  repository.putMachine('pc-acme-2.0', 'pc-next', [{ type: 'x86_64-cpu', property: 'l3-cache', value: false }]);
  const machines = gate('Nehalem');
  t.ok(holds(machines));
  t.ok(addedParts(machines).includes('machine type pc-acme-2.0'));
});

void t.test('a new contract that its pair does not resolve to', async (t) => {
  repository.putMachine('pc-acme-2.0', 'pc-next', [{ type: 'x86_64-cpu', property: 'l3-cache', value: false }]);
  repository.edit('contracts/Nehalem.json', `["${ACME}"]`, `["${ACME}", "pc-acme-2.0"]`);
  const wrong = gate('Nehalem');
  t.match(wrong.result.findings, [{ kind: 'contract-wrong', pairs: ['pc-acme-2.0/Nehalem'] }]);
  t.ok(holds(mended(wrong, 'Nehalem')));
});

void t.test(
  'what no compat property takes back is restored: a version, a machine type, caches, what releases do',
  async (t) => {
    repository.edit('cpu-models/intel/Nehalem.json', /,\n {4}\{\n {6}"version": 2,[\s\S]*?\n {4}\}\n/, '\n');
    const version = gate('Nehalem');
    t.ok(version.result.findings.some(({ kind, models }) => kind === 'removed' && models.includes('Nehalem-v2')));
    t.ok(holds(mended(version, 'Nehalem')));

    repository.reset();
    repository.put(
      'machine-types/index.json',
      '{"schema":"guest-abi/machine-type-index/1","machines":[],"aliases":{},"newest":{}}',
    );
    const machine = gate('Nehalem');
    t.match(machine.result.findings, [{ kind: 'removed', pairs: [`${ACME}/Nehalem`] }]);
    t.ok(holds(mended(machine, 'Nehalem')));

    repository.reset();
    repository.edit('cpu-models/caches.json', /"sets": 64\b/, '"sets": 32');
    const caches = gate('Nehalem');
    t.equal(concludeGate(caches.result), 'broken');
    t.match(caches.result.findings[0]?.causes[0], { file: 'abi/cpu-models/caches.json' });
    t.ok(holds(mended(caches, 'Nehalem')));

    repository.reset();
    repository.edit(
      'machine-types/deviations.json',
      '"property": "stepping", "value": 3',
      '"property": "stepping", "value": 4',
    );
    const deviation = gate('qemu64');
    t.equal(concludeGate(deviation.result), 'broken');
    t.ok(holds(mended(deviation, 'qemu64')));
  },
);

void t.test('the base is read without touching worktree or index, also from within a hook', async (t) => {
  repository.edit('cpu-models/intel/Penryn.json', '"stepping": 3', '"stepping": 4');
  repository.git('add', 'abi/cpu-models/intel/Penryn.json');
  repository.edit('cpu-models/intel/Penryn.json', '"stepping": 4', '"stepping": 5');
  const before = repository.git('status', '--porcelain');
  process.env.GIT_INDEX_FILE = '/nowhere/index';
  t.teardown(() => delete process.env.GIT_INDEX_FILE);
  const staged = gate('Penryn');
  delete process.env.GIT_INDEX_FILE;
  t.match(staged.result.findings[0]?.causes[0], { before: 3, after: 5 });
  t.equal(repository.git('status', '--porcelain'), before);
  t.equal(repository.git('diff', '--cached', '--stat').includes('Penryn'), true);
});

void t.test('without --base: what the branch began at', async (t) => {
  repository.git('checkout', '-q', '-b', 'work');
  t.teardown(() => repository.git('checkout', '-q', 'main'));
  repository.edit('cpu-models/intel/Penryn.json', '"stepping": 3', '"stepping": 4');
  repository.commit('an edit');
  const { result } = gateAgainstGit({
    ref: undefined,
    corpora: [repository.corpora],
    wanted: ({ model }) => model === 'Penryn',
  });
  t.match(result.base, /^git:[0-9a-f]{12} \(merge base with main\)$/);
  t.equal(concludeGate(result), 'broken');
});
