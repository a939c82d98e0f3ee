import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { runCli } from './run-cli.js';

const PAIR = ['--machine', 'pc-i440fx-2.3', '--cpu', 'Nehalem'];

/** Each: what was typed, the exit code, what the one line on stderr says. */
const CASES: readonly (readonly [args: readonly string[], code: number, says: RegExp])[] = [
  [
    ['resolve', '--machine', 'pc-i440fx-2.33', '--cpu', 'Nehalem'],
    2,
    /unknown machine type 'pc-i440fx-2.33'; nearest: .*pc-i440fx-2\.3/,
  ],
  [['resolve', '--machine', 'pc-i440fx-2.3', '--cpu', 'Nehalm'], 2, /unknown CPU model 'Nehalm'; nearest: Nehalem/],
  [['resolve', '--machine', 'pc-i440fx-2.3', '--cpu', 'Nehalem,+aess'], 2, /aess.*nearest: aes/],
  [['resolve', '--machine', 'pc-i440fx-2.3', '--cpu', 'Nehalem,level=abc'], 2, /level.*abc/],
  [['resolve', '--machine', 'pc-i440fx-2.3', '--cpu', 'Nehalem,,'], 2, /Nehalem,,/],
  [['resolve', ...PAIR, '--smp', '8c3t2'], 2, /8c3t2/],
  [['resolve', ...PAIR, '--vcpu', '3'], 2, /--vcpu 3.*0 to 0/],
  [['resolve'], 2, /name a pair/],
  [['resolve', '--machin', 'x'], 2, /--machin.*nearest: --machine/],
  [['reslove'], 2, /reslove.*nearest: resolve/],
  [['verify'], 2, /name pairs/],
  [['verify', ...PAIR, '--scenario', 'boot,rest'], 2, /unknown scenario 'rest'/],
  [['verify', ...PAIR, '--shard', '3/2'], 2, /--shard/],
  [['verify', ...PAIR, '--jobs', '0'], 2, /--jobs/],
  [['verify', ...PAIR, '--host', 'lokal'], 2, /unknown host 'lokal'/],
  [['verify', ...PAIR, '--host', 'recorded:'], 2, /unknown host 'recorded:'/],
  [['resolve', ...PAIR, '--corpora', 'package.json'], 2, /--corpora package\.json: no such folder/],
  [['verify', ...PAIR, '--subject', 'qemuu'], 2, /unknown subject/],
  [['resolve', '--machine', 'pc-next', '--cpu', 'host'], 2, /model 'host' follows its host.*--host/],
  [['resolve', ...PAIR, '--host', 'recorded:EPYC/4.9'], 2, /no capture 'EPYC\/4\.9'.*EPYC\//],
  [['probe', ...PAIR, '--host', 'recorded:EPYC/6.12', '--read-msrs', 'cheap'], 2, /no guest runs on recorded:EPYC/],
  [
    ['probe', ...PAIR, '--host', 'recorded:EPYC/6.12', '--host', 'recorded:EPYC/5.10'],
    2,
    /takes one host, given are 2/,
  ],
  [['host', 'runnable', '--host', 'recorded:EPYC/6.12', '--machine', 'pc-1'], 2, /unknown machine type 'pc-1'/],
  [['host', 'can-move', 'recorded:EPYC/6.12', 'recorded:EPYC/5.10', '--cpu', 'hots'], 2, /unknown CPU model 'hots'/],
  [['host', 'capture', '--from', 'package.json'], 2, /package\.json/],
  [['host', 'diff', 'recorded:EPYC/6.12'], 2, /missing required argument 'after'/],
  [['host', 'features', '--host', 'recorded:EPYC/*'], 2, /one host is asked here, 'recorded:EPYC\/\*' names \d/],
  [['host', 'diff', 'recorded:EPYC/*', 'recorded:EPYC/7.3'], 2, /one host is asked here/],
  [['resolve', ...PAIR, '--host', 'recorded:EPYC/*'], 2, /one host is asked here/],
  [['host', 'baseline', 'lokal'], 2, /unknown host 'lokal'/],
  [['report', 'no-such-file'], 2, /no-such-file: ENOENT/],
  [['report', '--format', 'txt', 'x'], 2, /txt/],
];

for (const [args, code, says] of CASES)
  void t.test(`guest-abi ${args.join(' ')}`, async (t) => {
    const end = await runCli(args);
    t.equal(end.code, code);
    t.equal(end.stdout, '');
    t.equal(end.stderr.split('\n').length, 2, 'one line');
    t.match(end.stderr, says);
    const json = await runCli([...args, '--json']);
    t.equal(json.code, code);
    const answer = JSON.parse(json.stdout) as { schema: string; error: { message: string } };
    t.equal(answer.schema, 'guest-abi/error/1');
    t.match(answer.error.message, says);
  });

/** The scripts beside the command line: `npm run NAME`. */
for (const [script, args, says] of [
  ['bench', ['--bogus'], /--bogus/],
  ['bench', ['--only', 'prob'], /no measurement 'prob'/],
  ['bench', ['--rounds', 'x'], /--rounds takes a whole number/],
  ['lives', ['--bogus'], /--bogus/],
  ['fuzz', ['--bogus'], /--bogus/],
  ['soak', ['--bogus'], /--bogus/],
  ['regressions', ['--bogus'], /--bogus/],
] as const)
  void t.test(`${script} ${args.join(' ')}`, async (t) => {
    const main = fileURLToPath(new URL(`../${script}/main.js`, import.meta.url));
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
    t.match({ status, stdout, stderr }, { status: 2, stdout: '', stderr: says });
    t.equal(stderr.split('\n').length, 2, 'one line');
  });

void t.test('a foreign file is no result log', async (t) => {
  const file = join(t.testdir(), 'foreign');
  writeFileSync(file, '{"a":1}\n');
  const end = await runCli(['report', file]);
  t.equal(end.code, 2);
  t.match(end.stderr, /foreign:1: not a line of a guest-abi result log/);
});

void t.test('help and version are answers', async (t) => {
  t.match(await runCli(['--version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/ });
  t.match(await runCli(['verify', '--help']), { code: 0, stdout: /--allow-altered/ });
});
