/** `vmm migrate` between two processes: moved, refused, cancelled; what is wrongly given. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { runCli } from './run-cli.js';
import { PAIR_OPTIONS, RunMachine, writerImage } from './run-machine.js';

const folder = mkdtempSync(join(tmpdir(), 'guest-abi-migrate-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const image = writerImage(folder);
const qmpAt = (name: string) => join(folder, `${name}.qmp`);
const source = () => RunMachine.start(qmpAt('a'), [...PAIR_OPTIONS, '--kernel', image, '--smp', '2']);
const to = `unix:${join(folder, 'b.sock')}`;
const destination = (...args: readonly string[]) => RunMachine.start(qmpAt('b'), [...args, '--incoming', to]);
const migrate = (...args: readonly string[]) =>
  runCli(['vmm', 'migrate', '--qmp', `unix:${qmpAt('a')}`, '--to', to, ...args]);
const isRunning = async ({ qmp }: RunMachine) => ((await qmp.execute('query-status')) as { running: boolean }).running;

void t.test('a guest of two vCPUs moves to another process, and its source ends', needsKvm, async (t) => {
  await using from = await source();
  await using there = await destination(...PAIR_OPTIONS, '--smp', '2');
  const { code, stdout } = await migrate('--json');
  t.equal(code, 0);
  t.match(JSON.parse(stdout), { schema: 'guest-abi/vmm-migrate/1', status: 'completed', downtime: Number });
  t.ok(await isRunning(there));
  t.equal(await there.quit(), 0);
  t.equal(await from.ended, 0);
});

void t.test('a destination of another pair refuses, and the guest runs on', needsKvm, async (t) => {
  await using from = await source();
  await using there = await destination('--machine', 'pc-i440fx-2.3', '--cpu', 'kvm64', '--smp', '2');
  const { code, stdout } = await migrate();
  t.equal(code, 1);
  t.match(stdout, /stays where it was: refused: the guest is a pc-i440fx-2\.3\/Nehalem, this machine a .*kvm64/);
  t.ok(await isRunning(from));
  t.equal(await there.ended, 1);
});

void t.test('what is wrongly given is refused before anything is asked', async (t) => {
  for (const [args, code, message] of [
    [['vmm', 'migrate', '--qmp', 'unix:/none', '--to', 'tpc:a:1'], 2, /allowed are unix:PATH, tcp:HOST:PORT/],
    [['vmm', 'migrate', '--qmp', 'unix:/none', '--to', to, '--when-not-converging', 'x'], 2, /stop or fail/],
    [['vmm', 'migrate', '--qmp', 'unix:/none', '--to', to], 3, /no QMP at \/none/],
    [['vmm', 'run', ...PAIR_OPTIONS, '--incoming', 'defer'], 2, /give --qmp/],
  ] as const) {
    const result = await runCli(args);
    t.equal(result.code, code, args.join(' '));
    t.match(result.stderr, message);
  }
});
