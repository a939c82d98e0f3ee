import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { CpuidTable } from '../../corpora/cpuid.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import type { Reason } from '../../corpora/verdict.js';
import { flatMachine, needsKvm, noNames } from '../fixtures.js';
import { type Faults, injectFaults } from '../kvm/inject.js';
import type { Kvm } from '../kvm/kvm.js';
import { openKvm } from '../kvm/system.js';
import { Machine } from '../monitor.js';
import { encodeContainer } from '../snapshot/container.js';
import { identitySection, stateSections } from '../snapshot/machine-state.js';
import { listenForMigration, type Receiver } from './destination.js';
import { migrateOut } from './source.js';

/** 1: incl (0x200000); mov (0x200000), %eax; out %eax, $0xf4; jmp 1b. */
const COUNTER = [0xff, 5, 0, 0, 0x20, 0, 0xa1, 0, 0, 0x20, 0, 0xe7, 0xf4, 0xeb, 0xf1];
const nextCount = (machine: Machine): number => {
  const event = machine.run({ timeoutMs: 1000 });
  if (event.kind !== 'exit') throw new Error(`${event.kind} instead of a count`);
  return event.code;
};

const folder = mkdtempSync(join(tmpdir(), 'guest-abi-migration-'));
t.teardown(() => rmSync(folder, { recursive: true }));
let sockets = 0;
const newPath = (): string => join(folder, `${sockets++}.sock`);

/** A receiver on `kvm`; the machine is there once it was realized. */
function receiverOn(kvm: Kvm): Receiver & { machine: () => Machine } {
  let machine: Machine | null = null;
  return {
    realize: (identity: CpuIdentity): readonly Reason[] => {
      const creation = Machine.create(kvm, identity, { nameOf: noNames, forceFeatures: true, step: 'destination' });
      if (creation.kind === 'refused') return creation.reasons;
      machine = creation.machine;
      return [];
    },
    load: (state) => machine!.loadState(state),
    machine: () => machine!,
  };
}

async function migrate(source: Machine, kvm: Kvm) {
  const path = newPath();
  const receiver = receiverOn(kvm);
  const listening = await listenForMigration(path, receiver, 5000);
  const end = await migrateOut(path, source.identity, () => source.saveState(), 5000);
  return { end, received: await listening.received, receiver };
}

void t.test('the guest goes on at the destination, and once more at the next one', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, COUNTER);
  t.equal(nextCount(source), 1);
  const first = await migrate(source, kvm);
  t.strictSame([first.end, first.received], [{ kind: 'sent' }, []]);
  t.equal(nextCount(first.receiver.machine()), 2);
  const second = await migrate(first.receiver.machine(), kvm);
  t.equal(nextCount(second.receiver.machine()), 3);
});

void t.test('a refusal reaches both sides with its reasons, and the source goes on', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, COUNTER);
  nextCount(source);
  const refusedBy = async (faults: Faults, code: string) => {
    const { end, received } = await migrate(source, injectFaults(kvm, faults));
    if (end.kind !== 'refused') return void t.fail('it was sent');
    t.match(end.reasons, [{ code, step: 'destination' }]);
    t.strictSame(received, end.reasons);
  };
  const flip = (index: number) => index === 0x174;
  await refusedBy({ refusesMsr: flip }, 'msr-not-settable');
  await refusedBy({ setState: (part, bytes) => (part === 'xsave' ? bytes.subarray(1) : bytes) }, 'state-not-settable');
  const tooMany = Array.from({ length: 300 }, (_, leaf) => ({ leaf, subleaf: null, eax: 0, ebx: 0, ecx: 0, edx: 0 }));
  const wanted = JSON.stringify(source.identity.vcpus[0]!.cpuid);
  const overflow = (table: CpuidTable) => (JSON.stringify(table) === wanted ? new CpuidTable(tooMany) : table);
  await refusedBy({ setCpuid2: overflow }, 'cpuid-not-settable');
  await refusedBy({ setCpuid2: () => new CpuidTable(tooMany) }, 'kvm-e2big');
  t.equal(nextCount(source), 2);
});

void t.test('a source that lies is refused, whatever byte it changes', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, COUNTER);
  const state = source.saveState();
  const offer = Buffer.concat(encodeContainer('offer', [identitySection(state.identity)]));
  const whole = Buffer.concat(encodeContainer('state', stateSections(state)));
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.nat(), fc.integer({ min: 1, max: 255 }), async (inOffer, place, change) => {
      const bytes = Buffer.from(inOffer ? offer : whole);
      bytes[place % bytes.length]! ^= change;
      const path = newPath();
      const receiver = receiverOn(kvm);
      const { received } = await listenForMigration(path, receiver, 5000);
      const socket = connect(path);
      socket.on('error', () => undefined).resume();
      socket.write(inOffer ? bytes : offer);
      if (!inOffer) socket.write(bytes);
      socket.end();
      // A longer length makes it wait for what never comes, and then say so.
      await t.rejects(received, { code: /^(bad-container|migration-link)$/ });
      receiver.machine()?.[Symbol.dispose]();
    }),
    { seed: 1, numRuns: 60 },
  );
});

void t.test('where the link breaks before the state was sent, the source keeps its guest', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, COUNTER);
  const path = newPath();
  const server = createServer((socket: Socket) => socket.destroy()).listen(path);
  await once(server, 'listening');
  await t.rejects(
    migrateOut(path, source.identity, () => source.saveState(), 1000),
    { code: 'migration-link', exitCode: 3 },
  );
  server.close();
  await t.rejects(
    migrateOut(path, source.identity, () => source.saveState(), 1000),
    { code: 'migration-link', message: /cannot reach/ },
  );
  t.equal(nextCount(source), 1);
});

void t.test(
  'where it breaks after the state was sent, nobody may say that the source still has the guest',
  needsKvm,
  async (t) => {
    using kvm = openKvm();
    using source = flatMachine(kvm, COUNTER);
    const path = newPath();
    const load = () => {
      throw new Error('the destination dies');
    };
    const { received } = await listenForMigration(path, { ...receiverOn(kvm), load }, 1000);
    await t.rejects(
      migrateOut(path, source.identity, () => source.saveState(), 1000),
      { code: 'migration-unknown', exitCode: 3 },
    );
    await t.rejects(received, { message: 'the destination dies' });
  },
);

void t.test('a silent destination is given up, and a silent source', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, COUNTER);
  const path = newPath();
  const server = createServer().listen(path);
  await once(server, 'listening');
  await t.rejects(
    migrateOut(path, source.identity, () => source.saveState(), 100),
    { code: 'migration-link', message: /silent/ },
  );
  server.close();
  const { received } = await listenForMigration(newPath(), receiverOn(kvm), 100);
  await t.rejects(received, { code: 'migration-link', message: /nothing came/ });
});

const here = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
const DESTINATION = `
  import { openKvm } from ${here('../kvm/system.js')};
  import { noNames } from ${here('../fixtures.js')};
  import { Machine } from ${here('../monitor.js')};
  import { listenForMigration } from ${here('destination.js')};
  let machine;
  const kvm = openKvm();
  const { received } = await listenForMigration(process.argv[1], {
    realize: (identity) => {
      const made = Machine.create(kvm, identity, { nameOf: noNames, forceFeatures: true });
      if (made.kind === 'refused') return made.reasons;
      machine = made.machine;
      return [];
    },
    load: (state) => machine.loadState(state),
  });
  console.log('listening');
  const reasons = await received;
  console.log(JSON.stringify(reasons.length ? reasons : machine.run({ timeoutMs: 1000 })));
  kvm[Symbol.dispose]();`;

void t.test('another process takes the guest, and leaves nothing behind', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, COUNTER);
  for (let i = 0; i < 5; i++) nextCount(source);
  const path = newPath();
  const command = [process.execPath, '--input-type=module', '-e', DESTINATION, path];
  const destination = spawn('env', ['-u', 'NODE_OPTIONS', ...command], { stdio: ['ignore', 'pipe', 'inherit'] });
  const output: Buffer[] = [];
  destination.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  const ended = once(destination, 'close');
  await once(destination.stdout, 'data');
  t.strictSame(await migrateOut(path, source.identity, () => source.saveState()), { kind: 'sent' });
  t.strictSame(await ended, [0, null]);
  t.match(Buffer.concat(output).toString(), /"kind":"exit","code":6/);
  t.notOk(existsSync(path), 'the socket is gone');
  t.notOk(readFileSync('/proc/net/unix', 'utf8').includes(path));
});
