import t from 'tap';
import { flatMachine, needsKvm, rawVcpu } from '../fixtures.js';
import { interruptedProcess } from '../interrupted-process.js';
import { openKvm } from './system.js';

const SPIN = [0xeb, 0xfe];
const HLT = [0xf4, 0xeb, 0xfd];

void t.test('no guest can hold the process: spinning, halted, or busy with port accesses', needsKvm, async (t) => {
  using kvm = openKvm();
  // in $0x80, %al; jmp .-2
  for (const code of [SPIN, HLT, [0xe4, 0x80, 0xeb, 0xfc]]) {
    using machine = flatMachine(kvm, code);
    for (const timeoutMs of [100, 0, 30, -5]) {
      const start = performance.now();
      const event = machine.run({ timeoutMs });
      const took = performance.now() - start;
      t.equal(event.kind, 'timed-out');
      t.ok(took >= timeoutMs && took < timeoutMs + 5000, `${took} ms for ${timeoutMs}`);
    }
    t.equal(machine.run({ timeoutMs: Number.NaN }).kind, 'timed-out');
  }
});

void t.test('a deadline that passed between runs does not end the next run', needsKvm, async (t) => {
  using kvm = openKvm();
  // out %al, $0xf4; jmp .-2
  using exiting = flatMachine(kvm, [0xe6, 0xf4, 0xeb, 0xfc]);
  t.equal(exiting.run({ timeoutMs: 20 }).kind, 'exit');
  await new Promise((resolve) => setTimeout(resolve, 40));
  t.equal(exiting.run({ timeoutMs: 1000 }).kind, 'exit');
  using spinning = flatMachine(kvm, SPIN);
  const start = performance.now();
  t.equal(spinning.run({ timeoutMs: 60 }).kind, 'timed-out');
  t.ok(performance.now() - start >= 60);
});

const soon = () => performance.now() + 1000;

void t.test('a read is answered by what was written into the exit', needsKvm, async (t) => {
  using kvm = openKvm();
  // in $0x42, %ax; hlt
  const { vcpu } = rawVcpu(kvm, [0xe5, 0x42, 0xf4]);
  const exit = vcpu.run(soon());
  if (exit.reason !== 'io') return void t.fail(exit.reason);
  t.match(exit, { direction: 'in', port: 0x42, size: 2, count: 1 });
  exit.data.set([0x34, 0x12]);
  t.equal(vcpu.getRegs().rip, 0x1000n, 'the instruction is not finished');
  t.equal(vcpu.settle(), null);
  t.equal(vcpu.getRegs().rip, 0x1002n, 'settled, it is');
  t.equal(vcpu.getRegs().rax & 0xffffn, 0x1234n);
  t.equal(vcpu.run(soon()).reason, 'hlt');
});

void t.test('memory without RAM is an MMIO exit', needsKvm, async (t) => {
  using kvm = openKvm();
  // mov $0x2000, %ax; mov %ax, %ds; movb $0x5a, 3; mov 4, %al; hlt
  const { vcpu } = rawVcpu(kvm, [0xb8, 0, 0x20, 0x8e, 0xd8, 0xc6, 6, 3, 0, 0x5a, 0xa0, 4, 0, 0xf4]);
  const write = vcpu.run(soon());
  if (write.reason !== 'mmio') return void t.fail(write.reason);
  t.match(write, { direction: 'write', gpa: 0x20003 });
  t.strictSame([...write.data], [0x5a]);
  const read = vcpu.run(soon());
  if (read.reason !== 'mmio') return void t.fail(read.reason);
  t.match(read, { direction: 'read', gpa: 0x20004 });
  read.data[0] = 0x77;
  t.equal(vcpu.run(soon()).reason, 'hlt');
  t.equal(vcpu.getRegs().rax & 0xffn, 0x77n);
});

void t.test('an MSR that the filter denies comes to us, and our answer to the guest', needsKvm, async (t) => {
  using kvm = openKvm();
  // mov $0x174, %ecx; rdmsr; wrmsr; hlt
  const { vm, vcpu } = rawVcpu(kvm, [0x66, 0xb9, 0x74, 1, 0, 0, 0x0f, 0x32, 0x0f, 0x30, 0xf4]);
  const BY_FILTER = 4n;
  vm.enableCap('KVM_CAP_X86_USER_SPACE_MSR', BY_FILTER);
  vm.setMsrFilter({ byDefault: 'allow', ranges: [{ base: 0x174, allowed: [false, true], access: 'read-write' }] });
  const read = vcpu.run(soon());
  if (read.reason !== 'rdmsr') return void t.fail(read.reason);
  t.match(read, { index: 0x174, why: Number(BY_FILTER) });
  read.answer(0x1234_5678_9abcn);
  const write = vcpu.run(soon());
  if (write.reason !== 'wrmsr') return void t.fail(write.reason);
  t.match(write, { index: 0x174, value: 0x1234_5678_9abcn });
  write.answer(0n);
  t.equal(vcpu.run(soon()).reason, 'hlt');
});

void t.test('MSR calls say how many were done', needsKvm, async (t) => {
  using kvm = openKvm();
  const { vcpu } = rawVcpu(kvm, HLT);
  const NO_SUCH = 0x7fff_0000;
  t.strictSame(
    vcpu.getMsrs([0x174, 0x175, NO_SUCH, 0x176]).map(({ index }) => index),
    [0x174, 0x175],
  );
  const value = 0x1000n;
  t.equal(
    vcpu.setMsrs([
      { index: 0x174, value },
      { index: NO_SUCH, value },
      { index: 0x175, value },
    ]),
    1,
  );
  t.strictSame(vcpu.getMsrs([0x174, 0x175]), [
    { index: 0x174, value },
    { index: 0x175, value: 0n },
  ]);
  const many = Array.from({ length: 600 }, () => ({ index: 0x174, value }));
  t.equal(vcpu.setMsrs(many), 600);
  t.equal(vcpu.getMsrs(many.map(({ index }) => index)).length, 600);
});

const interrupted = (body: string) =>
  interruptedProcess(`const machine = flatMachine(openKvm(), [0xeb, 0xfe]);
  ${body}`);

void t.test('SIGINT ends the process during a run', needsKvm, async (t) => {
  const { signal, ms } = await interrupted(`console.log('runs'); machine.run({ timeoutMs: 60_000 });`);
  t.equal(signal, 'SIGINT');
  t.ok(ms < 2000, `${ms} ms`);
});

void t.test('a handler of SIGINT gets its turn during a run', needsKvm, async (t) => {
  const { code, output, ms } = await interrupted(`
    process.on('SIGINT', () => { console.log('cleaned up'); process.exit(7); });
    console.log('runs');
    await runAsync(machine, { timeoutMs: 60_000 });`);
  t.equal(code, 7);
  t.match(output, /cleaned up/);
  t.ok(ms < 2000, `${ms} ms`);
});
