/** Machines of several vCPUs on real KVM: start-up by INIT and SIPI, commands, resets, states, and what hangs. */
import { readdirSync } from 'node:fs';
import t from 'tap';
import { COMMAND, SHUTDOWN_CODE } from '../corpora/probe-abi.js';
import { needsKvm, nextProbeWords, probeMachine, smpIdentity } from './fixtures.js';
import { interruptedProcess } from './interrupted-process.js';
import { openKvm } from './kvm/system.js';
import type { Machine } from './monitor.js';

/** Of a record's header. */
const VCPU = 3;
const SEQUENCE = 4;
/** First word behind the registers section's header: CR0, CR4, APIC id. */
const APIC_ID = 6 + 2 + 2;

/** vCPU number, APIC id and sequence of the next record of each vCPU. */
const nextRound = (machine: Machine): number[][] =>
  machine.identity.vcpus.map(() => {
    const words = nextProbeWords(machine);
    return [words[VCPU]!, words[APIC_ID]!, words[SEQUENCE]!];
  });

const round = (machine: Machine, sequence: number): number[][] =>
  machine.identity.vcpus.map(({ index, apicId }) => [index, apicId, sequence]);

for (const shape of ['2', '4', '8c4t2', '12s2c3t2', '16'])
  void t.test(`${shape}: every vCPU starts, dumps with its own APIC id, and obeys commands`, needsKvm, async (t) => {
    using kvm = openKvm();
    using machine = probeMachine(kvm, smpIdentity(shape));
    machine.start();
    t.same(nextRound(machine), round(machine, 0));
    machine.sendSerial(Uint8Array.of(COMMAND.dump));
    t.same(nextRound(machine), round(machine, 1));
    machine.sendSerial(Uint8Array.of(COMMAND.resetKeyboard));
    t.match(machine.run({ timeoutMs: 5000 }), { kind: 'reset', by: 'keyboard' });
    machine.reset();
    t.same(nextRound(machine), round(machine, 0), 'after a reset all start again');
    machine.sendSerial(Uint8Array.of(COMMAND.shutdown));
    t.match(machine.run({ timeoutMs: 5000 }), { kind: 'exit', code: SHUTDOWN_CODE });
  });

void t.test('a state of several vCPUs goes on in another machine', needsKvm, async (t) => {
  using kvm = openKvm();
  const identity = smpIdentity('4');
  using from = probeMachine(kvm, identity);
  from.start();
  nextRound(from);
  from.sendSerial(Uint8Array.of(COMMAND.dump));
  // In the middle of the round: one vCPU works, one is done, the others halt.
  nextProbeWords(from);
  nextProbeWords(from);
  const state = from.saveState();
  using to = probeMachine(kvm, identity);
  t.same(to.loadState(state), []);
  for (const machine of [to, from])
    t.same(
      [nextProbeWords(machine), nextProbeWords(machine)].map((words) => [words[VCPU], words[SEQUENCE]]),
      [
        [2, 1],
        [3, 1],
      ],
    );
  using other = probeMachine(kvm, smpIdentity('2'));
  t.throws(() => other.loadState(state), { code: 'other-machine', message: /4 vCPUs, the machine 2/ });
});

void t.test('vCPUs that were never started stay so in a state', needsKvm, async (t) => {
  using kvm = openKvm();
  const identity = smpIdentity('2');
  using from = probeMachine(kvm, identity);
  from.start();
  using to = probeMachine(kvm, identity);
  t.same(to.loadState(from.saveState()), []);
  t.same(nextRound(to), round(to, 0));
});

void t.test('one vCPU that hangs ends the wait, and the message says where each stands', needsKvm, async (t) => {
  using kvm = openKvm();
  // jmp . on the first vCPU; the others wait for INIT for ever.
  const boot = { image: { name: 'spin', bytes: Uint8Array.of(0xeb, 0xfe), protocol: 'flat' as const } };
  using machine = probeMachine(kvm, smpIdentity('2'), { boot });
  machine.start();
  for (const run of [machine.run({ timeoutMs: 50 }), await machine.runAsync({ timeoutMs: 50 })]) {
    if (run.kind !== 'timed-out') return void t.fail(run.kind);
    t.match(run.crash.message, /^the time was over at 8:100000, .*; vCPU 1 not started, at f000:fff0$/);
  }
});

void t.test('threads and file descriptors do not grow over 200 machines, whatever state they end in', needsKvm, (t) => {
  using kvm = openKvm();
  const identity = smpIdentity('4');
  const count = (what: 'task' | 'fd') => readdirSync(`/proc/self/${what}`).length;
  const machines = (many: number) => {
    for (let i = 0; i < many; i++) {
      using machine = probeMachine(kvm, identity);
      machine.start();
      // Never run, running, one exit served, one round done.
      if (i % 4 === 1) machine.launch();
      if (i % 4 === 2) nextProbeWords(machine);
      if (i % 4 === 3) nextRound(machine);
    }
  };
  machines(8);
  const [threads, files] = [count('task'), count('fd')];
  machines(192);
  t.ok(count('task') <= threads, `${count('task')} threads, ${threads} before`);
  t.ok(count('fd') <= files, `${count('fd')} file descriptors, ${files} before`);
  t.end();
});

/** A guest of three vCPUs, all of which run: one spins, two wait for a start that does not come. */
const RUNNING = `
  const boot = { image: { name: 'spin', bytes: Uint8Array.of(0xeb, 0xfe), protocol: 'flat' } };
  const machine = probeMachine(openKvm(), smpIdentity('3'), { boot });
  machine.start();`;

void t.test('SIGINT ends a process whose vCPUs run, also one that waits for them in one call', needsKvm, async (t) => {
  for (const wait of ['machine.run({ timeoutMs: 60_000 });', 'await runAsync(machine, { timeoutMs: 60_000 });'])
    t.match(await interruptedProcess(`${RUNNING} console.log('runs'); ${wait}`), { code: null, signal: 'SIGINT' });
});

void t.test('a handler of SIGINT gets its turn, and may end the process while vCPUs run', needsKvm, async (t) => {
  const handler = "process.on('SIGINT', () => { console.log('cleaned up'); process.exit(7); });";
  const live = "new LiveMachine(machine).resume(); console.log('runs');";
  for (const run of ["console.log('runs'); await runAsync(machine, { timeoutMs: 60_000 });", live]) {
    const { code, output, ms } = await interruptedProcess(`${RUNNING} ${handler} ${run}`);
    t.equal(code, 7);
    t.match(output, /cleaned up/);
    t.ok(ms < 10_000, `${ms} ms`);
  }
});

void t.test('a process that has nothing more to do ends, though its threads wait for vCPUs', needsKvm, async (t) => {
  const rest = "machine.run({ timeoutMs: 20 }); console.log('ran'); process.on('SIGINT', () => undefined);";
  t.match(await interruptedProcess(`${RUNNING} ${rest}`), { code: 0, signal: null });
});
