/** Machines that run by themselves: the owner's event loop turns while vCPUs run on their threads. */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { COMMAND, SHUTDOWN_CODE } from '../corpora/probe-abi.js';
import { flatMachine, needsKvm, noNames, probeMachine, probeWords, smpIdentity } from './fixtures.js';
import { gpa } from './kvm/guest-memory.js';
import { openKvm } from './kvm/system.js';
import { type LiveEvent, LiveMachine } from './live-machine.js';

/** Waits for the next event that `wanted` takes; fails after five seconds. */
function next<T>(live: LiveMachine, wanted: (event: LiveEvent) => T | null): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('no such event')), 5000);
    const stop = live.onEvent((event) => {
      const found = wanted(event);
      if (found === null) return;
      clearTimeout(late);
      stop();
      resolve(found);
    });
  });
}

/** Numbers of the vCPUs whose records come next, as many as there are. */
async function nextRound(live: LiveMachine): Promise<number[]> {
  const seen: number[] = [];
  await next(live, (event) => {
    if (event.kind !== 'record') return null;
    seen.push(probeWords(event.bytes)[3]!);
    return seen.length === live.identity.vcpus.length || null;
  });
  return seen;
}

for (const shape of ['1', '4'])
  void t.test(`${shape} vCPUs run, are paused and resumed, reset themselves and end`, needsKvm, async (t) => {
    using kvm = openKvm();
    using live = new LiveMachine(probeMachine(kvm, smpIdentity(shape)));
    const all = live.identity.vcpus.map(({ index }) => index);
    live.machine.start();
    t.equal(live.state, 'paused');
    live.resume();
    t.same(await nextRound(live), all);
    live.pause();
    live.pause();
    t.equal(live.state, 'paused');
    live.sendSerial(Uint8Array.of(COMMAND.dump));
    live.resume();
    live.resume();
    t.same(await nextRound(live), all);
    live.sendSerial(Uint8Array.of(COMMAND.resetControl));
    t.equal(await next(live, (event) => (event.kind === 'reset' ? event.by : null)), 'reset-control');
    t.same(await nextRound(live), all);
    live.sendSerial(Uint8Array.of(COMMAND.shutdown));
    t.equal(await next(live, (event) => (event.kind === 'exit' ? event.code : null)), SHUTDOWN_CODE);
    t.equal(live.state, 'ended');
    t.throws(() => live.resume(), /ended/);
    live.reset();
    live.resume();
    t.same(await nextRound(live), all);
  });

/** incl 0x200000; jmp .-6: never exits. */
const COUNTER = [0xff, 0x05, 0, 0, 0x20, 0, 0xeb, 0xf8];
const counted = (live: LiveMachine): number =>
  new DataView(live.memory.at(gpa(0x200000), 4).slice().buffer).getUint32(0, true);

void t.test('a paused guest does nothing, and its dirty log works while it runs', needsKvm, async (t) => {
  using kvm = openKvm();
  using live = new LiveMachine(flatMachine(kvm, COUNTER));
  using log = live.openDirtyLog();
  live.resume();
  while (counted(live) === 0) await sleep(1);
  log.take();
  const before = counted(live);
  while (counted(live) === before) await sleep(1);
  const bits = log.take();
  t.equal(bits[0x200 >> 3]! & 1, 1, 'the page that it counts in');
  live.pause();
  log.take();
  const still = counted(live);
  await sleep(20);
  t.equal(counted(live), still);
  t.notOk(
    log.take().some((byte) => byte !== 0),
    'nothing more is written',
  );
  live.resume();
  while (counted(live) === still) await sleep(1);
});

void t.test('what was saved without memory goes on with the memory brought another way', needsKvm, async (t) => {
  using kvm = openKvm();
  const identity = smpIdentity('2');
  using from = new LiveMachine(probeMachine(kvm, identity));
  from.machine.start();
  from.resume();
  await nextRound(from);
  from.pause();
  using to = new LiveMachine(probeMachine(kvm, identity));
  to.memory.at(gpa(0), to.machine.memoryBytes).set(from.memory.at(gpa(0), from.machine.memoryBytes));
  t.same(to.machine.loadCore(from.saveCore()), []);
  from[Symbol.dispose]();
  to.sendSerial(Uint8Array.of(COMMAND.dump));
  to.resume();
  t.same(await nextRound(to), [0, 1]);
});

void t.test('a guest that crashes ends the machine', needsKvm, async (t) => {
  using kvm = openKvm();
  // mov $0xd0000000, %eax; jmp *%eax: there is nothing to execute
  using live = new LiveMachine(flatMachine(kvm, [0xb8, 0, 0, 0, 0xd0, 0xff, 0xe0], { nameOf: noNames }));
  live.resume();
  t.match(await next(live, (event) => (event.kind === 'crashed' ? event.crash.cause : null)), 'internal-error');
  t.equal(live.state, 'ended');
});
