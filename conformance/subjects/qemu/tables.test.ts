/** Real QEMU releases against the resolver and against each other: a bounded version of the runs in docs/qemu-subjects.md. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { emptyContract } from '../../../corpora/contracts.js';
import { builtInDefinitions } from '../../../corpora/definitions.js';
import { shortFolder } from '../../../corpora/short-folder.js';
import { parseSmp } from '../../../corpora/smp.js';
import { processesMarked } from '../../cli/fixtures.js';
import { runCli } from '../../cli/run-cli.js';
import type { GateResult } from '../../gate/result.js';
import { cachedQemu, type QemuLauncher } from '../../packages/qemu-trees.js';
import { commonPairs, compareQemus } from './comparison.js';
import { pairEvidence } from './evidence.js';
import { bootOnce } from './one-boot.js';
import { execLine, standIn } from './stand-in.js';
import { type QemuPair, qemuTables, TableReader } from './tables.js';

const trees = new Map<string, QemuLauncher>();
for (const release of ['5.2', '7.2', '10.0', '11.1']) {
  const launcher = await cachedQemu(release);
  if (launcher) trees.set(release, launcher);
}
const needs = (...releases: string[]): { skip: string | false } => {
  const missing = releases.find((release) => !trees.has(release));
  return { skip: missing !== undefined && `QEMU ${missing} is not in the cache` };
};

/** Old and new, 32 and 64 bits, every vendor; AVX-512, MPX, AMX where the release has it. */
const MODELS = ['486', 'n270', 'Skylake-Server', 'EPYC'];

for (const release of ['5.2', '7.2', '10.0', '11.1'])
  void t.test(`QEMU ${release}: every vCPU of its guests sees what its pair resolves to`, needs(release), async (t) => {
    const machines = [release === '5.2' ? 'pc-1.0' : 'pc-q35-5.2'];
    const pairs = machines.flatMap((machine) => MODELS.map((cpu): QemuPair => ({ machine, cpu })));
    // The first release that has a machine type is its contract's; these two show otherwise later, which is told.
    const known = release === '10.0' || release === '11.1' ? ['n270'] : [];
    const options = { definitions: builtInDefinitions(), shapes: ['1', '8c4t2'], workers: 2 } as const;
    let same = 0;
    for await (const { machine, cpu, shape, differences } of pairEvidence(trees.get(release)!, pairs, options)) {
      if (known.includes(cpu)) t.match(differences[0], { leaf: '0x80000008', register: 'eax', bit: 2 });
      else if (differences.length > 0) t.fail(`${machine}/${cpu} smp ${shape}: ${differences[0]!.message}`);
      else same++;
    }
    t.equal(same, (pairs.length - known.length) * 2);
  });

void t.test('two releases: the known break by its values, and nothing else', needs('5.2', '7.2'), async (t) => {
  const [base, head] = [trees.get('5.2')!, trees.get('7.2')!];
  const { pairs } = await commonPairs(base, head);
  const models = ['n270', 'EPYC', 'qemu64-v1'];
  const chosen = pairs.filter(({ machine, cpu }) => machine === 'pc-i440fx-4.0' && models.includes(cpu));
  t.equal(chosen.length, models.length);
  for await (const { pair, verdict, reasons } of compareQemus(base, head, chosen)) {
    const changed = pair === 'pc-i440fx-4.0/qemu64-v1';
    t.equal(verdict, changed ? 'changed' : 'identical', `${pair}: ${reasons[0]?.message}`);
    if (changed)
      t.match(reasons, [
        { leaf: '0x00000001', contract: '0x00000663', guest: '0x00060fb1' },
        { leaf: '0x80000001', contract: '0x00000663', guest: '0x00060fb1' },
      ]);
  }
});

void t.test('gate: two QEMUs with a log, which is gone on with', needs('7.2', '10.0'), async (t) => {
  const log = join(t.testdir(), 'gate.jsonl');
  const gate = async (...args: string[]) =>
    runCli(['gate', '--base', 'qemu:7.2', '--machine', 'pc-i440fx-2.4', ...args]);
  const first = await gate('--head', 'qemu:10.0', '--cpu', 'n270', '--log', log);
  t.equal(first.code, 1);
  t.match(first.stdout, /BROKEN {2}n270 on pc-i440fx-2\.4/);
  t.match(first.stdout, /CPUID 80000008\.EAX\[2\]: contract 0x00000020, guest 0x00000024/);
  t.match(first.stdout, /note {4}MSRs: \d+ were read in each guest; \d+ of them .* were not compared/);
  t.match(first.stdout, /1 pairs booted under both in [\d.]+ s: [\d.]+ pairs a second/);
  const more = await gate('--head', 'qemu:10.0', '--cpu', 'n270', '--cpu', 'qemu64', '--resume', log);
  t.equal(more.code, 1);
  t.match(more.stdout, /1 pairs were in the log/);
  t.match(more.stdout, /BROKEN: 1 released pairs unchanged, 1 broken/);
  const other = await gate('--head', 'qemu:7.2', '--resume', log);
  t.equal(other.code, 2);
  t.match(other.stderr, /was run with --base qemu:7\.2/);
});

void t.test(
  'gate: a binary that was built anew is another, though its name and version stayed',
  needs('7.2', '10.0'),
  async (t) => {
    const script = execLine(trees.get('10.0')!);
    const folder = t.testdir();
    const head = `qemu:${standIn(folder, script).name}`;
    const log = join(folder, 'gate.jsonl');
    const pair = ['--machine', 'pc-i440fx-2.4', '--cpu', 'qemu64'];
    const gate = (...args: string[]) => runCli(['gate', '--base', 'qemu:7.2', '--head', head, ...pair, ...args]);
    t.equal((await gate('--log', log)).code, 0);
    t.match(await gate('--resume', log), { code: 0, stdout: /1 pairs were in the log/ });
    standIn(folder, `${script} # rebuilt`);
    t.match(await gate('--resume', log), { code: 2, stdout: '', stderr: /gate\.jsonl was run with --base qemu:7\.2/ });
  },
);

void t.test(
  'gate: a base that somebody killed was compared with nothing, and nothing holds',
  needs('10.0'),
  async (t) => {
    const script = `case "$*" in *n270*) kill -9 $$;; esac\n${execLine(trees.get('10.0')!)}`;
    const base = `qemu:${standIn(t.testdir(), script).name}`;
    const pairs = ['--machine', 'pc-q35-6.2', '--cpu', 'n270', '--cpu', 'qemu64'];
    const { code, stdout } = await runCli(['gate', '--base', base, '--head', 'qemu:10.0', ...pairs]);
    t.equal(code, 1);
    t.match(stdout, /n270 on pc-q35-6\.2[\s\S]*no message \(ended by SIGKILL\)[\s\S]*it was not seen under both QEMUs/);
    t.match(stdout, /^note {4}1 pairs booted under both/m);
    t.match(stdout, /BROKEN: 1 released pairs unchanged, 1 broken/);
  },
);

void t.test('gate: what a release has not any more is counted and named', needs('10.0', '11.1'), async (t) => {
  const gate = ['gate', '--base', 'qemu:10.0', '--head', 'qemu:11.1', '--cpu', 'n270', '--machine'];
  const gone = await runCli([...gate, 'pc-i440fx-2.*']);
  t.match(gone, { code: 3, stderr: '' }, 'no pair is left to compare');
  t.match(gone.stdout, /^gone {4}machine type pc-i440fx-2\.4: 1 pair$/m);
  t.match(gone.stdout, /^Nothing compared: 0 released pairs unchanged, 0 broken, 0 new, \d+ removed$/m);
  const json = JSON.parse((await runCli([...gate, 'pc-i440fx-2.4', '--json'])).stdout) as GateResult;
  t.same(json.removed, [{ what: 'machine type pc-i440fx-2.4', pairs: 1 }]);
  t.same(json.added, []);
  const news = JSON.parse((await runCli([...gate, 'pc-q35-11.1', '--json'])).stdout) as GateResult;
  t.same(news.added, [{ what: 'machine type pc-q35-11.1', pairs: 1 }]);
  t.equal(news.totals.added, 1);
});

for (const name of ['SIGINT', 'SIGTERM', 'SIGKILL'] as const)
  void t.test(`gate: ${name} ends its QEMUs too; the log can be resumed`, needs('7.2', '10.0'), async (t) => {
    const [log, temporary, mark] = [join(t.testdir({}), 'log.jsonl'), shortFolder(t), `gate-${name}-${process.pid}`];
    const gate = ['gate', '--base', 'qemu:7.2', '--head', 'qemu:10.0', '--machine', 'pc-q35-4.2'];
    const end = await runCli([...gate, '--log', log], {
      env: { TMPDIR: temporary, GUEST_ABI_TEST: mark },
      signal: { name, when: () => existsSync(log) && readFileSync(log, 'utf8').includes('"type":"cell"') },
    });
    t.match(end, { code: null, signal: name });
    // A gate that is killed ends nothing itself.
    const stays = (): boolean => processesMarked(mark).length > 0 || readdirSync(temporary).length > 0;
    for (let tries = 0; name === 'SIGKILL' && tries < 200 && stays(); tries++) await sleep(50);
    t.same(processesMarked(mark), []);
    t.same(readdirSync(temporary), []);
    const rest = await runCli([...gate, '--cpu', 'n270', '--cpu', 'Nehalem', '--resume', log]);
    t.match(rest.stdout, /BROKEN: 1 released pairs unchanged, 1 broken/);
  });

void t.test('freeze and gate: contracts against a binary of the user', needs('11.1'), async (t) => {
  const binary = standIn(
    t.testdir({ abi: {}, unfrozen: { contracts: { 'qemu64.json': JSON.stringify(emptyContract('qemu64')) } } }),
    execLine(trees.get('11.1')!),
  ).name;
  const gate = ['gate', '--corpora', join(dirname(binary), 'abi'), '--head', `qemu:${binary}`];
  const holds = await runCli([...gate, '--machine', 'pc-*-11.1', '--cpu', 'Nehalem', '--cpu', 'qemu64']);
  t.match(holds.stdout, /Holds: 4 released pairs unchanged, 0 broken/);
  t.equal(holds.code, 0, holds.stderr);
  const broken = await runCli([...gate, '--machine', 'pc-i440fx-6.2', '--cpu', 'n270', '--cpu', 'qemu64']);
  t.match(broken.stdout, /CPUID 80000008\.EAX\[2\]: contract 0x00000020, guest 0x00000024/);
  t.match(broken.stdout, /BROKEN: 1 released pairs unchanged, 1 broken/);
  t.equal(broken.code, 1);
  const of = ['--corpora', join(dirname(binary), 'unfrozen'), '--machine', 'pc-q35-11.1', '--cpu', 'qemu64'];
  const unfrozen = await runCli([...gate, ...of]);
  t.match(unfrozen.stdout, /Nothing compared: 0 released pairs unchanged/, 'what is not frozen is no released pair');
  t.equal(unfrozen.code, 3);
  const none = await runCli(['freeze', '--from', `qemu:${binary}`, '--machine', 'pc-*-99.1', '--out', t.testdirName]);
  t.match(none.stderr, /unknown machine type 'pc-\*-99\.1'/);
  t.equal(none.code, 2);
});

void t.test('coreduo changes between 7.2 and 10.0', needs('7.2', '10.0'), async (t) => {
  const pairs = ['coreduo', 'Nehalem'].map((cpu) => ({ machine: 'pc-q35-4.2', cpu }));
  for await (const { pair, verdict, reasons } of compareQemus(trees.get('7.2')!, trees.get('10.0')!, pairs)) {
    t.equal(verdict, pair.endsWith('Nehalem') ? 'identical' : 'changed', pair);
    if (verdict === 'changed')
      t.match(reasons, [{ leaf: '0x80000008', contract: '0x00000020', guest: '0x00000024' }], pair);
  }
});

void t.test('a sweep that an absurd maximum cuts short is compared with nothing', needs('11.1'), async (t) => {
  const launcher = trees.get('11.1')!;
  const pairs = [{ machine: 'pc-q35-11.1', cpu: 'qemu64,level=5000' }];
  for await (const { verdict, reasons } of compareQemus(launcher, launcher, pairs)) {
    t.equal(verdict, 'skipped');
    t.match(reasons, [{ message: /the CPUID sweep was cut short/ }]);
  }
});

void t.test('a comparison can be stopped', needs('11.1'), async (t) => {
  const stop = new AbortController();
  const pairs = MODELS.map((cpu) => ({ machine: 'pc-q35-5.2', cpu }));
  let ended = 0;
  for await (const { end } of qemuTables(trees.get('11.1')!, pairs, { workers: 1, signal: stop.signal })) {
    t.equal(end.kind, 'observed');
    ended++;
    stop.abort();
  }
  t.ok(ended < pairs.length, `${ended} boots`);
});

void t.test('what a QEMU refuses is one line with a cause', needs('11.1'), async (t) => {
  await using reader = await TableReader.open();
  const launcher = trees.get('11.1')!;
  const refused = async (machine: string, cpu: string) => reader.read(launcher, { machine, cpu });
  t.match(await refused('pc-i440fx-1.4', 'qemu64'), { kind: 'refused', code: 'qemu-machine-type' });
  t.match(await refused('pc-q35-5.2', 'Pentium9'), {
    kind: 'refused',
    ...{ code: 'qemu-cpu-model', message: "unable to find CPU model 'Pentium9'" },
  });
  t.match(await refused('pc-q35-5.2', 'qemu64,foo=on'), { kind: 'refused', code: 'qemu-property' });
});

void t.test('a QEMU that hangs, is killed, is none, or is not there: one line each', async (t) => {
  const folder = t.testdir();
  const spec = { machine: 'pc', cpu: 'qemu64', smp: parseSmp('1'), accel: 'tcg' } as const;
  const boot = (launcher: QemuLauncher, deadline?: number) => bootOnce(launcher, spec, '/dev/null', deadline);
  t.match(await boot(standIn(folder, 'exec sleep 600'), 200), {
    ...{ kind: 'hung', code: 'qemu-hung', message: 'no whole dump within 200 ms' },
  });
  t.match(await boot(standIn(folder, 'kill -9 $$')), { kind: 'crashed', message: 'no message (ended by SIGKILL)' });
  t.match(await boot(standIn(folder, 'echo this is no record of any probe; exec sleep 600'), 5000), {
    ...{ kind: 'crashed', message: /are no record/ },
  });
  const gone = { ...standIn(folder, ''), argv: (): [string] => ['/no/such/qemu'] };
  t.match(await boot(gone), { kind: 'crashed', message: /ENOENT/ });
});
