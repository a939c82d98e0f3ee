/** `vmm run --qmp` as managers use it: states, snapshots, events, and Ganeti's own client, which we did not write. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { shortFolder } from '../../corpora/short-folder.js';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import type { QmpClient, QmpEvent } from '../import/qmp-client.js';
import { runCli } from './run-cli.js';
import { PAIR_OPTIONS, RunMachine, writerImage } from './run-machine.js';

const folder = shortFolder(t);
const socket = join(folder, 'qmp');
const image = writerImage(folder);
const start = (...args: readonly string[]) => RunMachine.start(socket, [...PAIR_OPTIONS, '--kernel', image, ...args]);

/** Runs a job to its end; gives its error, if it has one. */
async function runJob(qmp: QmpClient, job: string, args: object): Promise<string | undefined> {
  const over = qmp.waitFor('JOB_STATUS_CHANGE', 20_000, (data) => (data as { status: string }).status === 'concluded');
  await qmp.execute(job, { 'job-id': 'j1', ...args });
  await over;
  const [{ error }] = (await qmp.execute('query-jobs')) as [{ error?: string }];
  await qmp.execute('job-dismiss', { id: 'j1' });
  return error;
}

void t.test('a machine is held, let run, stopped, reset, saved and ended over QMP', needsKvm, async (t) => {
  await using machine = await start('--name', 'box', '--smp', '2', '-S');
  const { qmp } = machine;
  t.equal(statSync(socket).mode & 0o777, 0o600);
  const seen: QmpEvent[] = [];
  qmp.onEvent((event) => seen.push(event));
  t.match(await qmp.execute('query-status'), { status: 'prelaunch', running: false });
  await qmp.execute('cont');
  t.match(await qmp.execute('query-status'), { status: 'running', running: true });
  t.match(await qmp.execute('query-name'), { name: 'box' });
  t.match(await qmp.execute('query-cpus-fast'), [{ 'cpu-index': 0 }, { 'cpu-index': 1 }]);
  await qmp.execute('stop');
  const snapshots = { vmstate: folder, devices: [folder] };
  t.equal(await runJob(qmp, 'snapshot-save', { tag: 'one', ...snapshots }), undefined);
  t.match(await qmp.execute('query-status'), { status: 'paused' }, 'as it was before');
  await qmp.execute('system_reset');
  await qmp.execute('cont');
  t.equal(await runJob(qmp, 'snapshot-load', { tag: 'one', ...snapshots }), undefined);
  t.match(await qmp.execute('query-status'), { status: 'running' });
  t.match(await runJob(qmp, 'snapshot-load', { tag: 'two', ...snapshots }), /cannot read .*two\.snapshot: ENOENT/);
  t.match(await qmp.execute('query-status'), { status: 'running' }, 'after what failed too');
  t.equal(await runJob(qmp, 'snapshot-delete', { tag: 'one', devices: [folder] }), undefined);
  t.notOk(existsSync(join(folder, 'one.snapshot')));
  t.equal(await machine.quit(), 0);
  t.notOk(existsSync(socket));
  const names = seen.filter(({ event }) => event !== 'JOB_STATUS_CHANGE').map(({ event }) => event);
  t.strictSame(names, ['RESUME', 'STOP', 'RESET', 'RESUME', 'STOP', 'RESUME', 'STOP', 'RESUME', 'SHUTDOWN']);
});

void t.test(
  'a background snapshot is taken while the guest runs, and restored in two processes',
  needsKvm,
  async (t) => {
    const file = join(folder, 'running.snapshot');
    {
      await using machine = await start();
      const { qmp } = machine;
      const capabilities = ['events', 'background-snapshot'].map((capability) => ({ capability, state: true }));
      await qmp.execute('migrate-set-capabilities', { capabilities });
      const statuses: string[] = [];
      const over = qmp.waitFor('MIGRATION', 20_000, (data) => {
        const { status } = data as { status: string };
        statuses.push(status);
        return ['completed', 'failed'].includes(status);
      });
      await qmp.execute('migrate', { uri: `file:${file}` });
      t.match((await over).data, { status: 'completed' });
      t.strictSame(statuses, ['setup', 'active', 'completed']);
      t.match(await qmp.execute('query-migrate'), { status: 'completed', downtime: Number, ram: { remaining: 0 } });
      t.match(await qmp.execute('query-status'), { status: 'running' });
      // Held back so far that it is under way when it is cancelled.
      await qmp.execute('migrate-set-parameters', { 'max-bandwidth': 10_000 });
      const cancelled = qmp.waitFor('MIGRATION', 20_000, (data) => (data as { status: string }).status === 'cancelled');
      await qmp.execute('migrate', { uri: `file:${file}.2` });
      await t.rejects(qmp.execute('migrate', { uri: `file:${file}.3` }), { message: /migration process in progress/ });
      await qmp.execute('migrate_cancel');
      await cancelled;
      t.strictSame(
        readdirSync(folder).filter((name) => name.startsWith('running')),
        ['running.snapshot'],
      );
      t.equal(await machine.quit(), 0);
    }
    for (const how of [[], ['--lazy']]) {
      await using machine = await RunMachine.start(socket, ['--restore', file, ...how]);
      t.match(await machine.qmp.execute('query-status'), { status: 'running' });
      t.equal(await machine.quit(), 0);
    }
  },
);

void t.test('guests that end say so on the socket', needsKvm, async (t) => {
  // mov $7, %al; out %al, $0xf4
  const exits = join(folder, 'exits');
  writeFileSync(exits, Uint8Array.of(0xb0, 7, 0xe6, 0xf4, 0xeb, 0xfe));
  await using machine = await RunMachine.start(socket, [...PAIR_OPTIONS, '--kernel', exits, '-S']);
  const down = machine.qmp.waitFor('SHUTDOWN', 20_000);
  await machine.qmp.execute('cont');
  t.match((await down).data, { guest: true, reason: 'guest-shutdown' });
});

void t.test('bad input: one line, code 2, and nothing left', needsKvm, async (t) => {
  const run = (...args: readonly string[]) => runCli(['vmm', 'run', ...args]);
  const base = [...PAIR_OPTIONS, '--kernel', image];
  const cases: readonly [args: readonly string[], message: RegExp][] = [
    [[...base, '--qmp', 'tcp:1'], /--qmp tcp:1: must be unix:PATH/],
    [[...base, '--qmp', 'unix:/x,wait=on'], /'wait=on' is not known/],
    [[...base, '--qmp', `unix:${'/x'.repeat(99)}`], /at most 107 bytes/],
    [[...base, '--allow-altered', '--force-features', '--qmp', 'unix:/no/such/folder/x'], /cannot listen at/],
    [[...base, '--allow-altered', '--force-features', '--qmp', `unix:${image}`], /is no socket/],
    [[...base, '--lazy'], /--lazy belongs to --restore/],
    [[...PAIR_OPTIONS], /--kernel FILE, a snapshot: --restore FILE, or --incoming URI/],
    [['--kernel', image], /name a pair/],
    [['--restore', image, ...PAIR_OPTIONS], /--restore brings machine type and CPU/],
    [['--restore', image], /cut short: 23 bytes/],
    [['--restore', '/dev/null'], /it is not a file/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await run(...args);
    t.equal(code, 2, args.join(' '));
    t.match(stderr, message);
    t.equal(stderr.trim().split('\n').length, 1);
  }
});

const GANETI = '/usr/share/ganeti/3.0';
/** Ganeti's driver of KVM guests, as its node daemon uses it: its own methods each open a connection, `Execute` wants one. */
const MANAGER = `
import sys
sys.path.insert(0, '${GANETI}')
from ganeti.hypervisor.hv_kvm.monitor import QmpConnection, QmpCommandNotSupported
qmp = QmpConnection(sys.argv[1])
def execute(*command):
  with QmpConnection(sys.argv[1]) as connection:
    return connection.Execute(*command)
qmp.StopGuestEmulation()
print(qmp.version, qmp.package)
print(execute('query-status'))
qmp.SetMigrationParameters(33554432, 30)
qmp.SetMigrationCapabilities(['events', 'background-snapshot'], True)
execute('migrate', {'uri': 'file:' + sys.argv[2]})
while qmp.GetMigrationStatus()['status'] not in ('completed', 'failed'): pass
print(qmp.GetMigrationStatus()['status'])
qmp.ContinueGuestEmulation()
print(execute('query-status')['running'])
try:
  qmp.StartPostcopyMigration()
except QmpCommandNotSupported as error:
  print('not supported')
execute('quit')
`;

void t.test(
  "Ganeti's QMP client connects, stops, saves and ends a machine",
  { skip: needsKvm.skip || (!existsSync(GANETI) && 'ganeti-3.0 is not installed') },
  async (t) => {
    if (spawnSync('/usr/bin/python3', ['--version']).status !== 0) return t.fail('ganeti without python3');
    const saves = join(folder, 'ganeti');
    mkdirSync(saves);
    await using _ = await start();
    const manager = spawn('/usr/bin/python3', ['-c', MANAGER, socket, join(saves, 'guest')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let out = '';
    manager.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    t.strictSame(await once(manager, 'close'), [0, null]);
    t.match(out, /^\(11, 1, 0\) guest-abi \d/);
    t.strictSame(out.trim().split('\n').slice(1), [
      "{'status': 'paused', 'running': False}",
      'completed',
      'True',
      'not supported',
    ]);
    t.strictSame(readdirSync(saves), ['guest']);
  },
);
