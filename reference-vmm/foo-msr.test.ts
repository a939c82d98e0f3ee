/**
 * Kernel 3.7 brings KVM_FOO_MSR and CPUID_KVM_FOO. A guest of an old machine type never meets them and moves both ways; one that
 * follows its host uses them, and is refused by name where they are not.
 */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { hex32 } from '../corpora/hex.js';
import type { CpuIdentity } from '../corpora/identity.js';
import type { Reason } from '../corpora/verdict.js';
import { identityOf, keptTable, needsKvm, noNames } from './fixtures.js';
import { fooKernel, KVM_FEATURE_FOO, KVM_FOO_MSR, withFoo } from './foo-kernel.js';
import type { Kvm } from './kvm/kvm.js';
import { openKvm } from './kvm/system.js';
import { Machine } from './monitor.js';
import { machineOf, msrGuest, nextWord, readAll } from './msr-guest.js';
import { writeSnapshot } from './snapshot/file.js';
import { restoreSnapshot } from './snapshot/restore.js';

const FOO = 0x1234_5678n;
const USES_FOO = msrGuest([{ index: KVM_FOO_MSR, value: FOO }], [KVM_FOO_MSR]);
const SYSENTER_CS = 0x174;
/** out %eax, $0xf4: a word of the guest after which it can be moved. */
const SAYS_A_WORD = [0xe7, 0xf4];
const SHUNS_FOO = msrGuest([{ index: SYSENTER_CS, value: 0x10n }], [SYSENTER_CS]);

const old = (kvm: Kvm): CpuIdentity => ({ ...identityOf(keptTable(kvm)), machine: 'pc-1.2', pair: 'pc-1.2/Test' });
const next = (kvm: Kvm): CpuIdentity => ({ ...identityOf(keptTable(kvm)), machine: 'pc-next', pair: 'pc-next/Test' });
const host = (kvm: Kvm): CpuIdentity => ({ ...old(kvm), cpuModel: 'host', pair: 'pc-1.2/host' });

/** Moves a guest that has begun; why it does not arrive. */
function move(source: Machine, to: Kvm): Reason[] {
  const state = source.saveState();
  using destination = machineOf(to, state.identity, null);
  return destination.loadState(state);
}

const kernels = (t: Test) => {
  const kvm36 = openKvm();
  const kvm37 = fooKernel(openKvm());
  t.teardown(() => {
    kvm36[Symbol.dispose]();
    kvm37[Symbol.dispose]();
  });
  return { kvm36, kvm37 };
};

void t.test('pc-1.2: the guest faults on KVM_FOO_MSR on 3.7 as on 3.6', needsKvm, async (t) => {
  const { kvm36, kvm37 } = kernels(t);
  for (const kvm of [kvm36, kvm37]) {
    using machine = machineOf(kvm, old(kvm36), USES_FOO);
    t.equal(nextWord(machine), KVM_FOO_MSR, 'it is about to write');
    t.match(machine.run({ timeoutMs: 5000 }), { kind: 'reset', by: 'triple-fault' });
    t.notOk(machine.saveState().vcpus[0]!.msrs.some(({ index }) => index === KVM_FOO_MSR));
  }
});

void t.test('pc-1.2: the guest moves from 3.6 to 3.7 and back', needsKvm, async (t) => {
  const { kvm36, kvm37 } = kernels(t);
  for (const [from, to] of [
    [kvm36, kvm37],
    [kvm37, kvm36],
  ] as const) {
    using source = machineOf(from, old(kvm36), SHUNS_FOO);
    nextWord(source);
    t.same(readAll(source, [SYSENTER_CS]), [{ index: SYSENTER_CS, value: 0x10n }]);
    t.same(move(source, to), []);
  }
});

for (const [name, identity] of Object.entries({ 'pc-next': next, host })) {
  void t.test(`${name}: the guest of 3.7 has KVM_FOO_MSR, and is refused on 3.6 by its name`, needsKvm, async (t) => {
    const { kvm36, kvm37 } = kernels(t);
    using source = machineOf(kvm37, identity(kvm36), USES_FOO);
    nextWord(source);
    t.same(readAll(source, [KVM_FOO_MSR]), [{ index: KVM_FOO_MSR, value: FOO }]);
    t.same(move(source, kvm37), []);
    t.match(move(source, kvm36), [{ code: 'msr-not-settable', msr: '0x4b564d7f', contract: '0x0000000012345678' }]);
  });
}

for (const [name, identity] of Object.entries({ 'pc-1.2': old, 'pc-next': next, host })) {
  void t.test(`${name}: the guest of 3.6 goes forward to 3.7, and does not find the MSR there`, needsKvm, async (t) => {
    const { kvm36, kvm37 } = kernels(t);
    using source = machineOf(kvm36, identity(kvm36), [...SAYS_A_WORD, ...USES_FOO]);
    nextWord(source);
    const state = source.saveState();
    using destination = machineOf(kvm37, state.identity, null);
    t.same(destination.loadState(state), []);
    t.equal(nextWord(destination), KVM_FOO_MSR, 'it is about to write');
    t.match(destination.run({ timeoutMs: 5000 }), { kind: 'reset', by: 'triple-fault' });
  });
}

void t.test(
  'host: a guest that 3.7 gave CPUID_KVM_FOO and its MSR is refused on 3.6 by both names',
  needsKvm,
  async (t) => {
    const { kvm36, kvm37 } = kernels(t);
    const identity = { ...host(kvm36), vcpus: [{ index: 0, apicId: 0, cpuid: withFoo(keptTable(kvm36)) }] };
    using source = machineOf(kvm37, identity, USES_FOO);
    nextWord(source);
    const file = join(t.testdir(), 'guest.snapshot');
    writeSnapshot(file, source.saveState());
    const back = restoreSnapshot(kvm36, file, { nameOf: noNames, allowAltered: true });
    if (back.kind === 'created') back.machine[Symbol.dispose]();
    const foo = back.kind === 'refused' && back.reasons.filter(({ msr, leaf }) => msr ?? leaf === '0x40000001');
    t.match(foo, [{ code: 'cpuid-not-offered' }, { code: 'msr-unknown', msr: hex32(KVM_FOO_MSR) }]);
    const again = restoreSnapshot(kvm37, file, { nameOf: noNames, allowAltered: true });
    if (again.kind === 'created') again.machine[Symbol.dispose]();
    t.equal(again.kind, 'created');
  },
);

void t.test('host: CPUID_KVM_FOO of 3.7 is a refusal on 3.6 that names the bit', needsKvm, async (t) => {
  const { kvm36, kvm37 } = kernels(t);
  const identity = { ...host(kvm36), vcpus: [{ index: 0, apicId: 0, cpuid: withFoo(keptTable(kvm36)) }] };
  const kvmFoo = { leaf: '0x40000001', register: 'eax', bit: Math.log2(KVM_FEATURE_FOO) };
  const refusal = (kvm: Kvm) => {
    const made = Machine.create(kvm, identity, { nameOf: () => undefined, allowAltered: true });
    if (made.kind === 'created') made.machine[Symbol.dispose]();
    return made.kind === 'refused' ? made.reasons.filter(({ leaf }) => leaf === kvmFoo.leaf) : [];
  };
  t.match(refusal(kvm36), [{ code: 'cpuid-not-offered', ...kvmFoo }]);
  t.same(refusal(kvm37), []);
});
