import t from 'tap';
import { COMMAND } from '../corpora/probe-abi.js';
import { needsKvm, probeMachine, smpIdentity } from './fixtures.js';
import { IdlePoll } from './idle-poll.js';
import { openKvm } from './kvm/system.js';

/** Polls as a loop of nothing else does, until it is to rest. */
function spin(idle: IdlePoll, index: number): number {
  for (let polls = 1; polls < 1_000_000; polls++) if (idle.rests(index)) return polls;
  throw new Error('it never rests');
}

void t.test('a loop of polls rests, once, until its time is over or there is something', async (t) => {
  const idle = new IdlePoll();
  t.equal(idle.msLeft, Number.POSITIVE_INFINITY);
  t.ok(spin(idle, 3) > 10, 'a few polls are answered at once');
  t.notOk(idle.rests(3), 'one at a time');
  t.ok(idle.msLeft <= 10);
  t.equal(idle.end(), 3);
  t.equal(idle.end(), null);
  spin(idle, 2);
  while (idle.msLeft > 0);
  t.equal(idle.due(), 2);
  t.equal(idle.due(), null);
});

void t.test('a probe that waits for commands rests, and a command wakes it', needsKvm, async (t) => {
  using kvm = openKvm();
  using machine = probeMachine(kvm, smpIdentity('2'));
  machine.start();
  for (let i = 0; i < 2; i++) t.match(await machine.runAsync({ timeoutMs: 5000 }), { kind: 'record' });
  machine.launch();
  const until = performance.now() + 10_000;
  while (machine.patienceMs === Number.POSITIVE_INFINITY && performance.now() < until) t.equal(machine.poll(), null);
  t.ok(machine.patienceMs <= 10, 'it rests');
  machine.sendSerial(Uint8Array.of(COMMAND.dump));
  t.equal(machine.patienceMs, Number.POSITIVE_INFINITY, 'and is awake');
  for (let i = 0; i < 2; i++) t.match(machine.run({ timeoutMs: 5000 }), { kind: 'record' });
});
