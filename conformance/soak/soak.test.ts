/** The soak command, short: what it counts, what it refuses, and that a lost write fails it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { WITNESS_BASE } from '../../corpora/witness-abi.js';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { gpa } from '../../reference-vmm/kvm/guest-memory.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { openLocalHost } from '../hosts/local.js';
import { TravellingWitness } from './travelling-witness.js';
import { askWitness, startWitness } from './witness-guest.js';

async function soak(...args: readonly string[]) {
  const script = fileURLToPath(new URL('main.js', import.meta.url));
  const child = spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, script, '--json', ...args]);
  const closed = once(child, 'close');
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: ((await closed) as [number])[0], stdout, stderr };
}

void t.test('a guest of two vCPUs is moved, saved, cut off and killed, and nothing is lost', needsKvm, async (t) => {
  const { code, stdout, stderr } = await soak(
    '--migrations',
    '3',
    '--saves',
    '3',
    '--cuts',
    '3',
    '--kills',
    '2',
    '--vcpus',
    '2',
    '--memory',
    '4',
  );
  t.equal(code, 0, stderr);
  t.match(JSON.parse(stdout), { schema: 'guest-abi/soak/1', done: 11, rest: 0, counts: { moved: 3 }, faults: [] });
});

void t.test('a guest goes there and back between agents of two hosts', needsKvm, async (t) => {
  await using one = await openLocalHost();
  await using other = await openLocalHost();
  const counts = new Map<string, number>();
  const tally = {
    random: () => 0,
    count: (what: string, by = 1) => void counts.set(what, (counts.get(what) ?? 0) + by),
  };
  const shape = { vcpus: 2, memoryBytes: 3 << 20, seed: 3 };
  await using witness = await TravellingWitness.start([one, other], shape, tally);
  await witness.migrate();
  await witness.saveLive();
  await witness.migrate();
  t.match(Object.fromEntries(counts), { cancelled: 2, 'moved local > local': 2, 'saved live': 1 });
});

void t.test('between hosts there are two of them, and nobody is killed', needsKvm, async (t) => {
  t.match(await soak('--host', 'local', '--kills', '1'), { code: 2, stderr: /migrations and saves, not kills/ });
  t.match(await soak('--host', 'local', '--migrations', '1'), { code: 2, stderr: /between 2 hosts, not 1/ });
});

void t.test('what is no number is refused', async (t) => {
  t.match(await soak('--migrations', 'many'), { code: 2, stdout: '', stderr: /--migrations takes a whole number/ });
});

void t.test('a write that is lost is told', needsKvm, async (t) => {
  using kvm = openKvm();
  using guest = await startWitness(kvm, { vcpus: 1, memoryBytes: 4 << 20, seed: 7, pages: 8 });
  await askWitness(guest);
  guest.memory.at(gpa(WITNESS_BASE + 4096), 4).fill(0);
  await t.rejects(async () => {
    for (;;) await askWitness(guest);
  }, /memory at 0x201000/);
});
