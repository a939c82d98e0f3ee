/** `verify` and `report` as a user runs them, on this machine's KVM: the log, going on with it, parts of it, exit codes. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { shortFolder } from '../../corpora/short-folder.js';
import type { CellResult } from '../../corpora/verdict.js';
import { needsKvm, smallFileSystem } from '../../reference-vmm/fixtures.js';
import type { VerifyJson } from '../../reports/json.js';
import { conclude, type Judged, parseLog } from '../../reports/result-log.js';
import { processesMarked } from './fixtures.js';
import { type CliEnd, type CliEnvironment, runCli } from './run-cli.js';

const PAIRS = ['--pair', 'pc-i440fx-1.6/kvm64', '--pair', 'pc-i440fx-2.4/qemu64,-abm,-sse4a'];
const ALLOW = ['--allow-altered', '--force-features'];
const WHOLE = [...PAIRS, ...ALLOW, '--scenario', 'boot,reset'];
const folder = t.testdir();
const LOG = join(folder, 'whole.jsonl');

const nameOf = ({ pair, hosts, scenario }: Pick<CellResult, 'pair' | 'hosts' | 'scenario'>): string =>
  `${pair} ${hosts.join('>')} ${scenario}`;
const verify = (args: readonly string[], environment: CliEnvironment = {}): Promise<CliEnd> =>
  runCli(['verify', ...args], { cwd: folder, ...environment });
const readLogFile = (file: string) => parseLog(readFileSync(file, 'utf8'), file);
const documentOf = (end: CliEnd): VerifyJson => JSON.parse(end.stdout) as VerifyJson;

/** DESIGN.md: 0 holds, 1 a break, 3 nothing was verified. */
const exitOf = (log: Judged): number => ({ holds: 0, broken: 1, 'nothing-verified': 3, incomplete: 3 })[conclude(log)];

void t.test('every cell is judged as predicted, logged and reported', needsKvm, async (t) => {
  const end = await verify([...WHOLE, '--json', '--log', LOG]);
  const report = documentOf(end);
  t.equal(end.code, exitOf(report), end.stderr);
  t.equal(report.cells.length, 4);
  for (const { pair, scenario, verdict, predicted, evidence } of report.cells) {
    t.equal(verdict, predicted, `${pair} ${scenario}`);
    t.match(verdict, /identical|altered/);
    t.match(evidence, /qemu|resolved-only/);
  }
  const log = readLogFile(LOG);
  t.ok(log.complete);
  t.same(log.cells.map(nameOf).sort(), report.cells.map(nameOf).sort());
  t.ok(log.hosts.every(({ id, kernel, cpu }) => id && kernel && cpu));

  const json = await runCli(['report', '--format', 'json', LOG]);
  t.equal(json.code, end.code);
  t.same(documentOf(json).totals, report.totals);
  const text = await runCli(['report', LOG]);
  t.equal(text.code, end.code);
  for (const { pair, verdict } of report.cells) t.match(text.stdout, new RegExp(`${pair.split(',')[0]}.*${verdict}`));
});

void t.test('a pair that several names and globs match is one', needsKvm, async (t) => {
  const names = [
    '--pair',
    'pc-i440fx-1.6/kvm64',
    '--machine',
    'pc-i440fx-1.6',
    '--cpu',
    'kvm6*',
    '--cpu',
    '*vm64',
    '--smp',
    '1',
    '--smp',
    '1',
  ];
  const { stdout } = await verify([...names, '--scenario', 'boot', '--list', '--json']);
  const { cells } = JSON.parse(stdout) as { cells: CellResult[] };
  t.equal(cells.filter(({ pair }) => pair === 'pc-i440fx-1.6/kvm64').length, 1);
  t.equal(new Set(cells.map(nameOf)).size, cells.length);
});

void t.test('without --allow-altered a cell is identical or refused, as predicted', needsKvm, async (t) => {
  const args = ['--pair', 'pc-i440fx-1.6/kvm64', '--scenario', 'boot'];
  const listed = JSON.parse((await verify([...args, '--list', '--json'])).stdout) as { cells: CellResult[] };
  const end = await verify([...args, '--json', '--log', join(folder, 'strict.jsonl')]);
  const { cells } = documentOf(end);
  t.same(
    cells.map(({ verdict }) => verdict),
    listed.cells.map(({ predicted }) => predicted),
  );
  t.match(cells[0]!.verdict, /identical|refused/);
  t.equal(end.code, cells[0]!.verdict === 'identical' ? 0 : 3);
});

void t.test('a log that was cut goes on where it was cut', needsKvm, async (t) => {
  const lines = readFileSync(LOG, 'utf8').split('\n');
  const cut = join(folder, 'cut.jsonl');
  // Two results stand, the third is cut within its line.
  const cells = lines.filter((line) => line.includes('"type":"cell"'));
  const before = lines.slice(0, lines.indexOf(cells[2]!));
  writeFileSync(cut, [...before, cells[2]!.slice(0, 100)].join('\n'));
  const half = await runCli(['report', cut]);
  t.match(half.stdout, /not complete/);
  t.equal(half.code, 3, 'two cells that hold say nothing of the others');
  const moved = join(folder, 'other-kernel.jsonl');
  writeFileSync(moved, before.join('\n').replace(/"kernel":"[^"]*"/, '"kernel":"4.19.0"'));
  t.match(await verify([...WHOLE, '--resume', moved]), {
    code: 2,
    stderr: /host local was 4\.19\.0 .*, and is .* now/,
  });
  const end = await verify([...WHOLE, '--json', '--resume', cut]);
  t.equal(documentOf(end).cells.length, 4);
  const log = readLogFile(cut);
  t.ok(log.complete);
  t.same(log.cells.map(nameOf).sort(), readLogFile(LOG).cells.map(nameOf).sort());
  t.same(log.cells.slice(0, 2), readLogFile(LOG).cells.slice(0, 2), 'results that stood are kept, not run again');
});

void t.test('an existing log is never written over', needsKvm, async (t) => {
  const before = readFileSync(LOG, 'utf8');
  t.match(await verify([...WHOLE, '--log', LOG]), { code: 2, stderr: /whole\.jsonl exists; --resume/ });
  t.equal(readFileSync(LOG, 'utf8'), before);
});

void t.test('the parts of all shards are the whole, each cell once', needsKvm, async (t) => {
  const cellsOf = async (...more: string[]) => {
    const args = ['--machine', 'pc-1.*', '--cpu', 'kvm*', '--list', '--json', ...more];
    return (JSON.parse((await verify(args)).stdout) as { cells: CellResult[] }).cells.map(nameOf);
  };
  const whole = await cellsOf();
  const parts = await Promise.all(['1/2', '2/2'].map((shard) => cellsOf('--shard', shard)));
  t.ok(whole.length > 20);
  t.ok(parts.every((part) => part.length > 0));
  t.same(parts.flat().sort(), [...whole].sort());
});

void t.test('a shard that was not run is missed when logs are merged', async (t) => {
  const [first, second, merged] = ['shard-1', 'shard-2', 'shards'].map((name) => join(folder, `${name}.jsonl`));
  const run = (shard: string, log: string) =>
    verify([...PAIRS, '--host', 'recorded:EPYC/6.12', '--scenario', 'boot,reset', '--shard', shard, '--log', log]);
  t.notMatch(await run('1/2', first!), { stdout: /not complete/ }, 'it is the whole of what it was asked for');
  const missing = await runCli(['report', 'merge', first!, '--out', merged!]);
  t.match(missing, { code: 3, stderr: /Shard 2 of 2 is missing: this log is not complete/ });
  await run('2/2', second!);
  const both = ['report', 'merge', first!, second!, '--json', '--out', `${merged}-2`];
  t.match(await runCli(both), { code: 0, stdout: /"complete": true/ });
});

void t.test('--against: a cell that ends otherwise than before is a break', needsKvm, async (t) => {
  const args = [...PAIRS.slice(0, 2), ...ALLOW, '--scenario', 'boot'];
  const same = await verify([...args, '--against', LOG, '--log', join(folder, 'same.jsonl')]);
  t.equal(same.stderr, '');
  const other = join(folder, 'other.jsonl');
  writeFileSync(other, readFileSync(LOG, 'utf8').replace(/"verdict":"(altered|identical)"/, '"verdict":"refused"'));
  const worse = await verify([...args, '--against', other, '--log', join(folder, 'worse.jsonl')]);
  t.equal(worse.code, 1);
  t.match(worse.stderr, /pc-i440fx-1\.6\/kvm64 boot on local: was refused, is (altered|identical)/);
});

void t.test(
  'a log of other options is neither gone on with nor held against; one of other cells proves nothing',
  needsKvm,
  async (t) => {
    const before = readFileSync(LOG, 'utf8');
    const strict = [...PAIRS, '--scenario', 'boot,reset'];
    const other = /whole\.jsonl was run with --allow-altered --force-features, this run is with no options/;
    for (const option of ['--resume', '--against'])
      t.match(await verify([...strict, option, LOG]), { code: 2, stdout: '', stderr: other }, option);
    t.equal(readFileSync(LOG, 'utf8'), before);
    const elsewhere = ['--pair', 'pc-i440fx-1.7/kvm64', ...ALLOW, '--against', LOG];
    t.match(await verify(elsewhere), { code: 2, stderr: /holds none of the \d+ cells of this run/ });
  },
);

void t.test('--min-identical: too few identical cells verify nothing', needsKvm, async (t) => {
  const end = await verify([...WHOLE, '--min-identical', '99', '--resume', LOG]);
  t.equal(end.code, 3);
  t.match(end.stdout, /Nothing verified/);
});

for (const name of ['SIGINT', 'SIGTERM'] as const)
  void t.test(
    `${name} ends the run after the cells under way; the rest can follow; nothing stays`,
    needsKvm,
    async (t) => {
      const log = join(folder, `${name}.jsonl`);
      const temporary = shortFolder(t);
      const mark = `${name}-${process.pid}`;
      const args = ['--machine', 'pc-i440fx-1.*', '--cpu', 'kvm64', ...ALLOW, '--scenario', 'boot,cold-start,migrate'];
      const end = await verify([...args, '--json', '--log', log], {
        env: { TMPDIR: temporary, GUEST_ABI_TEST: mark },
        signal: { name, when: () => existsSync(log) && readFileSync(log, 'utf8').includes('"type":"cell"') },
      });
      const report = documentOf(end);
      t.notOk(report.complete);
      const ended = report.cells.map(({ verdict, predicted, reasons }) => ({
        verdict,
        predicted,
        why: reasons[0]?.message,
      }));
      // All that can be wrong at once, so that a failure under load tells its cause.
      const told = JSON.stringify({ signal: end.signal, stderr: end.stderr, ended });
      t.equal(end.code, 3, told);
      for (const { verdict, predicted } of ended) t.equal(verdict, predicted, told);
      const { cells, complete } = readLogFile(log);
      t.notOk(complete);
      t.same(cells.map(nameOf).sort(), report.cells.map(nameOf).sort());
      t.same(processesMarked(mark), []);
      t.same(readdirSync(temporary), []);
      const all = (JSON.parse((await verify([...args, '--list', '--json'])).stdout) as { cells: CellResult[] }).cells;
      t.ok(cells.length > 0 && cells.length < all.length, `${cells.length} of ${all.length}`);
    },
  );

void t.test(
  'a temporary folder in which no socket can stand skips what needs one, and says why',
  needsKvm,
  async (t) => {
    const temporary = join(folder, 'x'.repeat(90));
    mkdirSync(temporary);
    const args = [
      ...PAIRS.slice(0, 2),
      ...ALLOW,
      '--scenario',
      'boot,migrate',
      '--json',
      '--log',
      join(folder, 'long.jsonl'),
    ];
    const { cells } = documentOf(await verify(args, { env: { TMPDIR: temporary } }));
    t.match(cells, [{ scenario: 'boot' }, { verdict: 'skipped', reasons: [{ message: /at most \d+ bytes$/ }] }]);
    t.equal(cells[0]!.verdict, cells[0]!.predicted);
    t.same(readdirSync(temporary), []);
  },
);

const tiny = needsKvm.skip ? null : smallFileSystem(t, '8k');

void t.test(
  'a full disk ends the run with one clear line; nothing stays',
  { skip: needsKvm.skip || (!tiny && 'may not mount a file system') },
  async (t) => {
    const mark = `full-${process.pid}`;
    const temporary = join(folder, 'tmp-full');
    mkdirSync(temporary);
    const log = join(tiny!, 'run.jsonl');
    // One page is left, and ten results need more.
    writeFileSync(join(tiny!, 'others'), Buffer.alloc(4096));
    const end = await verify([...PAIRS, ...ALLOW, '--jobs', '2', '--log', log], {
      env: { TMPDIR: temporary, GUEST_ABI_TEST: mark },
    });
    t.equal(end.code, 3);
    t.match(end.stderr, /^guest-abi: cannot write .*run\.jsonl: ENOSPC\n$/);
    t.same(processesMarked(mark), []);
    t.same(readdirSync(temporary), []);
    // What stands in it can be read, and gone on with where there is space.
    const moved = join(folder, 'moved.jsonl');
    copyFileSync(log, moved);
    t.notOk(readLogFile(moved).complete);
    await verify([...WHOLE, '--resume', moved]);
    t.ok(readLogFile(moved).complete);
  },
);

void t.test(
  'a full disk behind the temporary folder ends the run too; of a log that cannot begin nothing stays',
  { skip: needsKvm.skip || (!tiny && 'may not mount a file system') },
  async (t) => {
    const log = join(folder, 'no-room.jsonl');
    const end = await verify([...PAIRS, ...ALLOW, '--scenario', 'boot,snapshot-restore', '--log', log], {
      env: { TMPDIR: tiny! },
    });
    t.match(end, { code: 3, stdout: '', stderr: /^guest-abi: cannot (write|make a folder in) .*: ENOSPC\n$/ });
    t.notOk(readLogFile(log).complete, 'what ran says nothing of the rest');
    t.equal((await runCli(['report', log])).code, 3);
    const before = readdirSync(tiny!);
    const other = await verify([...PAIRS, ...ALLOW, '--log', join(tiny!, 'other.jsonl')]);
    t.match(other, { code: 3, stderr: /^guest-abi: cannot write .*other\.jsonl: ENOSPC\n$/ });
    t.same(readdirSync(tiny!), before);
  },
);

void t.test('report: written to a file, merged of several, held against another', needsKvm, async (t) => {
  const out = join(folder, 'report.xml');
  t.match(await runCli(['report', '--format', 'junit', '--out', out, LOG]), { stdout: '' });
  t.match(readFileSync(out, 'utf8'), /<testsuite name="local: boot" tests="2"/);
  const merged = join(folder, 'merged.jsonl');
  const strict = join(folder, 'strict.jsonl');
  t.match(await runCli(['report', 'merge', LOG, strict, '--out', merged]), {
    code: 2,
    stderr: /whole\.jsonl and .*strict\.jsonl: pc-i440fx-1\.6\/kvm64 on local boot is|allowAltered|forceFeatures/,
  });
  t.notOk(existsSync(merged));
  t.match(await runCli(['report', 'merge', LOG, LOG, '--out', merged]), { code: 0, stdout: /4 cells of 2 logs/ });
  t.match(await runCli(['report', 'compare', LOG, merged]), { code: 0, stdout: /^4 cells the same, 0 otherwise/ });
  t.ok(readLogFile(merged).cells.every(({ life }) => life!.steps.length > 0 && life!.expected.length === 1));
});
