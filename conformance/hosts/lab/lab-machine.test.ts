/** Tests of lab hosts that are booted: they come up, fail clearly, and leave nothing behind. Skipped where the cache is empty. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { access, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { cachedSpec } from './fixtures.js';
import { labCpu } from './lab-cpus.js';
import { LabMachine } from './lab-machine.js';

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

/** A folder for this test alone, so that what is left in it is ours. */
process.env.TMPDIR = mkdtempSync(join(tmpdir(), 'lab-test-'));
t.teardown(() => rmSync(process.env.TMPDIR!, { recursive: true, force: true }));
const folders = (): string[] => readdirSync(process.env.TMPDIR!);

const spec = await cachedSpec();
const needsLab = spec ? {} : { skip: 'no lab in the cache: guest-abi lab setup' };

void t.test('a host comes up, bridges sockets, and is gone after stop', needsLab, async (t) => {
  const machine = await LabMachine.start(spec!);
  t.ok(isAlive(machine.pid));
  const server = machine.open({ kind: 'listen', socket: '/tmp/x/link' });
  const client = machine.open({ kind: 'connect', socket: '/tmp/x/link' });
  const bytes = Buffer.alloc(1_000_000, 'abc');
  const received: Buffer[] = [];
  server.on('data', (chunk) => received.push(chunk));
  client.resume();
  client.end(bytes);
  await once(server, 'end');
  t.ok(Buffer.concat(received).equals(bytes));
  await machine.stop();
  t.match(await machine.ended, { wanted: true });
  t.equal(isAlive(machine.pid), false);
  t.same(folders(), []);
});

void t.test('a host that is killed ends its conversations and says so', needsLab, async (t) => {
  await using machine = await LabMachine.start(spec!);
  const conversation = machine.open({ kind: 'listen', socket: '/tmp/never' });
  process.kill(machine.pid, 'SIGKILL');
  await once(conversation, 'ended');
  const end = await machine.ended;
  t.equal(end.wanted, false);
  t.equal(end.message, `${machine.name} was ended by SIGKILL`);
  t.equal(machine.alive, false);
});

void t.test('a kernel that panics is an error with its last words', needsLab, async (t) => {
  const initrd = join(t.testdir(), 'initrd');
  await writeFile(initrd, 'no archive');
  await t.rejects(LabMachine.start({ ...spec!, initrd }), { code: 'lab-boot-failed', message: /Kernel panic/ });
});

void t.test('a host without SVM names what is missing', needsLab, async (t) => {
  const cpu = { ...labCpu('EPYC'), off: ['svm'] };
  await t.rejects(LabMachine.start({ ...spec!, cpu }), {
    code: 'lab-boot-failed',
    message: /kvm_amd.ko does not load/,
  });
});

void t.test('a host that is not up in time is an error', needsLab, async (t) => {
  await t.rejects(LabMachine.start({ ...spec!, deadline: 300 }), { code: 'lab-boot-hung' });
  t.same(folders(), []);
});

/** A runner of its own process group that boots a host and then runs `script`, in which it is `machine`. */
async function runnerWith(folder: string, script: string) {
  const file = join(folder, 'run.mjs');
  const module = fileURLToPath(new URL('./lab-machine.js', import.meta.url));
  const { qemu, ...plain } = spec!;
  await writeFile(
    file,
    `import { LabMachine } from ${JSON.stringify(module)};
     import { cachedQemu } from ${JSON.stringify(module.replace('hosts/lab/lab-machine', 'packages/qemu-trees'))};
     const machine = await LabMachine.start({ ...${JSON.stringify(plain)}, qemu: await cachedQemu(${JSON.stringify(qemu.name)}) });
     ${script}`,
  );
  return spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
}

void t.test('a runner that dies takes its hosts with it', needsLab, async (t) => {
  const runner = await runnerWith(t.testdir(), 'console.log(machine.pid);');
  const [pid] = await once(runner.stdout, 'data');
  runner.kill('SIGKILL');
  for (let tries = 0; tries < 50 && (isAlive(Number(pid)) || folders().length > 0); tries++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  t.equal(isAlive(Number(pid)), false);
  t.same(folders(), []);
  await access(spec!.images.system);
});

void t.test('an interrupt of the terminal reaches the runner, which ends its hosts itself', needsLab, async (t) => {
  const runner = await runnerWith(
    t.testdir(),
    `process.once('SIGINT', async () => {
       const reached = machine.open({ kind: 'connect', socket: '/nobody' });
       await new Promise((resolve) => reached.once('ended', resolve));
       console.log(machine.alive ? 'answered' : 'lost');
       await machine.stop();
     });
     console.log('up');`,
  );
  await once(runner.stdout, 'data');
  process.kill(-runner.pid!, 'SIGINT');
  const [said] = await once(runner.stdout, 'data');
  t.equal(String(said), 'answered\n');
  await once(runner, 'exit');
  t.same(folders(), []);
});
