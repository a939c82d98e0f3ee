/** `vmm snapshot` as a user runs it: saves a running and a stopped guest, shows what a file holds, and is clear about what it cannot do. */
import { existsSync, readdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { shortFolder } from '../../corpora/short-folder.js';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { runCli } from './run-cli.js';
import { PAIR_OPTIONS, RunMachine, writerImage } from './run-machine.js';

const folder = shortFolder(t);
const socket = join(folder, 'qmp');
const snapshot = (...args: readonly string[]) => runCli(['vmm', 'snapshot', ...args]);
const QMP = ['--qmp', `unix:${socket}`] as const;

void t.test('a guest is saved while it runs, and while it is stopped; both files are shown', needsKvm, async (t) => {
  await using machine = await RunMachine.start(socket, [
    ...PAIR_OPTIONS,
    '--kernel',
    writerImage(folder),
    '--smp',
    '2',
  ]);
  const [live, stopped] = ['live', 'stopped'].map((name) => join(folder, `${name}.snapshot`)) as [string, string];
  const saved = await snapshot('save', ...QMP, '--to', live);
  t.match(saved, {
    code: 0,
    stderr: '',
    stdout: /^saved to .*live\.snapshot in \d+ ms; the guest stood still for \d+ ms\n$/,
  });
  t.match(await machine.qmp.execute('query-migrate-capabilities'), [{ state: false }, { state: false }], 'as before');
  t.match(await snapshot('save', ...QMP, '--to', stopped, '--stopped'), { code: 0 });
  t.match(await machine.qmp.execute('query-status'), { status: 'running' });
  for (const file of [live, stopped]) {
    const end = await snapshot('show', file, '--json');
    t.match(JSON.parse(end.stdout), {
      ...{ schema: 'guest-abi/vmm-snapshot/1', pair: 'pc-i440fx-2.3/Nehalem', vcpus: 2 },
      ...{ memoryBytes: 16 << 20, pages: Number },
    });
  }
  t.match(await snapshot('show', live), { code: 0, stdout: /whole, every checksum holds/ });
  const slow = await runCli(
    ['vmm', 'snapshot', 'save', ...QMP, '--to', join(folder, 'slow.snapshot'), '--max-bandwidth', '1000'],
    {
      signal: { name: 'SIGINT', when: () => readdirSync(folder).some((name) => name.startsWith('slow')) },
    },
  );
  t.match(slow, { code: 1, stdout: /given up: there is no file, the guest runs on/ });
  t.notOk(readdirSync(folder).some((name) => name.startsWith('slow')));
  t.match(await snapshot('save', ...QMP, '--to', '/no/such/folder/x.snapshot'), { code: 3, stdout: /ENOENT/ });
  truncateSync(live, 100_000);
  t.match(await snapshot('show', live), { code: 2, stderr: /cut short: 100000 bytes of \d+/ });
});

void t.test('bad input: one line, code 2', async (t) => {
  const cases: readonly [args: readonly string[], message: RegExp][] = [
    [['save', '--to', 'x.snapshot'], /--qmp/],
    [['save', ...QMP], /--to/],
    [['save', ...QMP, '--to', 'x'], /must end with \.snapshot/],
    [['save', '--qmp', 'x', '--to', 'x.snapshot'], /must be unix:PATH/],
    [['save', ...QMP, '--to', 'x.snapshot', '--max-bandwidth', '-1'], /whole number/],
    [['show'], /missing required argument/],
    [['show', join(folder, 'none')], /cannot read .*ENOENT/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await snapshot(...args);
    t.equal(code, 2, args.join(' '));
    t.match(stderr, message);
  }
  const gone = await snapshot('save', '--qmp', 'unix:/no/such/socket', '--to', 'x.snapshot', '--json');
  t.equal(gone.code, 3);
  t.match(JSON.parse(gone.stdout), { error: { code: 'qmp-lost' } });
  t.notOk(existsSync('x.snapshot'));
});
