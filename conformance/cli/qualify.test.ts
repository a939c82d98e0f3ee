import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Definitions } from '../../corpora/definitions.js';
import { msrContractText } from '../../corpora/msr-contracts.js';
import { packageFile } from '../../corpora/package-root.js';
import { freezeMsrsOf } from '../contracts/freeze-msrs.js';
import { ACME, ForeignRepository } from '../gate/foreign-repository.js';
import type { ChecklistItem } from '../qualify/checklist.js';
import type { Qualification } from '../qualify/summary.js';
import { runCli } from './run-cli.js';

t.setTimeout(600_000);
const work = t.testdir();
const qualify = (...args: string[]) => runCli(['qualify', ...args], { cwd: work });

const HOSTS = ['--host', 'recorded:EPYC-Genoa/6.12', '--host', 'recorded:EPYC-Genoa/5.10'];
const itemOf = ({ items }: Qualification, id: string): ChecklistItem => items.find((one) => one.id === id)!;

void t.test(
  'a released machine type: what follows from files passes, recorded hosts never satisfy the rest',
  async (t) => {
    const folder = t.testdir();
    const file = join(folder, 'summary.json');
    const { code, stdout, stderr } = await qualify(
      '--machine',
      'pc-i440fx-2.3',
      '--cpu',
      'Nehalem',
      ...HOSTS,
      '--out',
      file,
      '--json',
    );
    t.equal(code, 3, stderr);
    const summary = JSON.parse(stdout) as Qualification;
    t.match(summary, { schema: 'guest-abi/qualification/1', predecessor: 'pc-i440fx-2.2', verdict: 'incomplete' });
    for (const id of ['contracts', 'predecessor', 'names', 'kernels'])
      t.equal(itemOf(summary, id).outcome, 'passed', id);
    t.match(
      itemOf(summary, 'predecessor').evidence.join('\n'),
      /"Nehalem-x86_64-cpu", "vme", "off".*\(vme\): was 0, is 1/,
    );
    const runs = itemOf(summary, 'runs');
    t.equal(runs.outcome, 'open');
    t.match(
      runs.evidence.join('\n'),
      /0 cells identical.* of 0 on real kernels; \d+ on recorded hosts, which prove nothing/,
    );
    t.equal(itemOf(summary, 'predecessor-moves').outcome, 'open');
    t.same(JSON.parse(readFileSync(file, 'utf8')), summary);
    const log = join(work, 'guest-abi-results/run-qualify.jsonl');
    const again = await qualify('--machine', 'pc-i440fx-2.3', '--cpu', 'Nehalem', ...HOSTS, '--resume', log, '--json');
    t.same(itemOf(JSON.parse(again.stdout), 'runs'), runs, 'gone on with, nothing is left to run');

    const kept = await qualify('--check', file);
    t.equal(kept.code, 3, 'what was signed off is that it is incomplete');
    t.match(kept.stdout, /pc-i440fx-2\.3 incomplete, signed off as it stands/);
    writeFileSync(file, readFileSync(file, 'utf8').replace('"incomplete"', '"qualified"'));
    const forged = await qualify('--check', file);
    t.equal(forged.code, 2);
    t.match(forged.stderr, /its content is not what was signed off/);
  },
);

function freezeNehalemsMsrs(repository: ForeignRepository): void {
  const definitions = new Definitions([repository.corpora]);
  const file = freezeMsrsOf([ACME], definitions).get('Nehalem')!;
  repository.put('msr-contracts/Nehalem.json', msrContractText(file));
}

void t.test("a machine type of one's own: not frozen, differences that nothing explains", async (t) => {
  const repository = new ForeignRepository(t.testdir());
  const corpora = ['--corpora', repository.corpora];
  const asked = ['--machine', ACME, '--cpu', 'Nehalem', ...corpora, '--json'];
  const half = JSON.parse((await qualify(...asked)).stdout) as Qualification;
  t.match(itemOf(half, 'contracts').problems, [
    /^Nehalem has no frozen MSRs: guest-abi freeze --machine pc-acme-1\.0$/,
  ]);
  freezeNehalemsMsrs(repository);
  const own = await qualify(...asked);
  const summary = JSON.parse(own.stdout) as Qualification;
  t.equal(itemOf(summary, 'contracts').outcome, 'passed', 'that one pair is frozen');
  t.equal(summary.predecessor, null);
  const file = join(repository.root, 'kept.json');
  writeFileSync(file, own.stdout);
  repository.edit('cpu-models/intel/Nehalem.json', '"stepping": 3', '"stepping": 4');
  repository.put('msr-contracts/Nehalem.json', `${repository.read('msr-contracts/Nehalem.json')}\n`);
  const later = await qualify('--check', file, ...corpora);
  t.equal(later.code, 1);
  t.match(later.stdout, /msr-contracts\/Nehalem\.json is not as it was signed off/);
  t.match(later.stdout, /cpu-models\/intel\/Nehalem\.json is not as it was signed off/);

  repository.reset();
  repository.putMachine('pc-acme-2.0', 'pc-next', []);
  repository.putMachine(ACME, 'pc-acme-2.0', [{ type: 'Nehalem-x86_64-cpu', property: 'ssse3', value: false }]);
  repository.put(
    'machine-types/index.json',
    JSON.stringify({
      schema: 'guest-abi/machine-type-index/1',
      machines: [ACME, 'pc-acme-2.0'],
      aliases: {},
      newest: {},
    }),
  );
  const next = await qualify('--machine', 'pc-acme-2.0', '--cpu', 'Nehalem', ...corpora, '--json');
  t.equal(next.code, 1);
  const unfrozen = JSON.parse(next.stdout) as Qualification;
  t.match(
    itemOf(unfrozen, 'contracts').problems[0],
    /Nehalem \(smp 1\) has no contract: guest-abi freeze --machine pc-acme-2\.0/,
  );
  t.match(
    itemOf(unfrozen, 'predecessor').evidence.join('\n'),
    /"ssse3", "off" \}: Nehalem: CPUID 1\.ECX\[9\] \(ssse3\): was 0, is 1/,
  );
  t.equal(unfrozen.verdict, 'not-qualified');

  repository.putMachine(ACME, 'pc-next', []);
  repository.put(
    `machine-types/pc-acme-2.0.json`,
    repository.read('machine-types/pc-acme-2.0.json').replace('"releases":["11.1"]', '"releases":["5.2"]'),
  );
  const odd = JSON.parse(
    (await qualify('--machine', 'pc-acme-2.0', '--cpu', 'qemu64-v1', ...corpora, '--json')).stdout,
  ) as Qualification;
  t.equal(itemOf(odd, 'predecessor').outcome, 'failed', 'another release is its word, and no compat entry says so');
});

void t.test("README: a machine type of one's own with the models that it promises", async (t) => {
  const folder = t.testdir();
  const abi = join(folder, 'abi');
  cpSync(packageFile('docs/examples/acme'), abi, { recursive: true });
  const both = ['--machine', 'pc-acme-1.0', '--machine', 'pc-acme-2.0'];
  t.match(await runCli(['freeze', '--corpora', abi, ...both, '--cpu', 'kvm64']), {
    code: 0,
    stdout: /2 contract files/,
  });
  const run = await qualify('--corpora', abi, '--machine', 'pc-acme-2.0', '--host', 'recorded:rich/6.12', '--json');
  const summary = JSON.parse(run.stdout) as Qualification;
  t.match(itemOf(summary, 'models'), { outcome: 'passed', evidence: ['1 of 1 models', /others are not frozen/] });
  for (const id of ['contracts', 'predecessor', 'names', 'kernels']) t.equal(itemOf(summary, id).outcome, 'passed', id);
  t.match(itemOf(summary, 'runs').evidence.join(), /; 1\d on recorded hosts/, 'in both shapes');

  await runCli(['freeze', '--corpora', abi, '--machine', 'pc-acme-1.0', '--cpu', 'qemu64']);
  const lost = JSON.parse((await qualify('--corpora', abi, '--machine', 'pc-acme-2.0', '--json')).stdout);
  t.match(itemOf(lost, 'contracts').problems, ['qemu64 has a contract on pc-acme-1.0 and none here']);
});

void t.test('bad input', async (t) => {
  const folder = t.testdir();
  const cases: [string[], RegExp][] = [
    [[], /--machine or --check/],
    [['--machine', 'pc-i440fx-2.33'], /unknown machine type 'pc-i440fx-2\.33'; nearest: pc-i440fx-2\.3/],
    [['--machine', 'pc-i440fx-2.3', '--cpu', 'Nehalm'], /has no model that --cpu names/],
    [['--machine', 'pc-i440fx-2.3', '--host', 'mars'], /unknown host 'mars'/],
    [['--check', '/nowhere'], /cannot read \/nowhere: ENOENT/],
    [['--check', join(folder, 'x.json')], /x\.json: not JSON/],
    [['--check', join(folder, 'made.json')], /made\.json: version: /],
  ];
  writeFileSync(join(folder, 'x.json'), '{');
  writeFileSync(join(folder, 'made.json'), '{"schema":"guest-abi/qualification/1","machine":"pc-i440fx-2.3"}');
  for (const [args, wanted] of cases) {
    const { code, stderr, stdout } = await qualify(...args);
    t.equal(code, 2, args.join(' '));
    t.match(stderr, wanted);
    t.equal(stdout, '');
  }
  const unwritable = await qualify(
    '--machine',
    'pc-i440fx-2.3',
    '--cpu',
    'Nehalem',
    '--out',
    join(folder, 'no/such/file'),
  );
  t.equal(unwritable.code, 3);
  t.same(readdirSync(folder), ['made.json', 'x.json']);
});
