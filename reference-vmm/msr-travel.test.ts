/** What a guest wrote to every writable MSR of its identity is there after a restore; whatever a kernel does to one of them is named. */
import fc from 'fast-check';
import t from 'tap';
import { hex32 } from '../corpora/hex.js';
import type { CpuIdentity, MsrValue } from '../corpora/identity.js';
import { msrLabel } from '../corpora/msrs.js';
import { legalValue } from './cpu-model/msr-values.js';
import { countsTime, type Msr, msrsOf, travellingMsrs } from './cpu-model/msrs.js';
import { resolve } from './cpu-model/resolve.js';
import { identityOf, keptTable, needsKvm, noNames } from './fixtures.js';
import { type Faults, injectFaults } from './kvm/inject.js';
import type { Kvm } from './kvm/kvm.js';
import { openKvm } from './kvm/system.js';
import { Machine } from './monitor.js';
import { letWrite, machineOf, msrGuest, readAll } from './msr-guest.js';
import type { MachineState } from './snapshot/machine-state.js';

/** RAM that no guest of these uses. */
const SPARE = { page: 0x300000 };
const IA32_APIC_BASE = 0x1b;
const X2APIC = '0x00000800';

/** All that keep a write, but for the guest's own ground: its local APIC, and what counts time. */
const isWritable = ({ index, writable, definition }: Msr): boolean =>
  definition.access === 'read-write' &&
  writable !== 0n &&
  index !== IA32_APIC_BASE &&
  definition.index !== X2APIC &&
  definition.volatility.class !== 'time';

const named = (values: readonly MsrValue[]) =>
  values.map(({ index, value }) => `${msrLabel(index)} ${value.toString(16)}`);

/** A machine whose guest wrote to all, and says what it reads. */
function written(kvm: Kvm, cpu: string) {
  const identity = resolve({ machine: 'pc-i440fx-7.2', cpu });
  const writes = msrsOf(identity)
    .filter(isWritable)
    .map((msr, seed) => ({ index: msr.index, value: legalValue(msr, seed, SPARE) }));
  const reads = writes.map(({ index }) => index);
  const machine = machineOf(kvm, identity, msrGuest(writes, reads));
  letWrite(machine, writes);
  return { identity, machine, writes, reads };
}

/** Models of which this project's KVMs lack nothing that brings an MSR. */
for (const cpu of ['pentium3', 'Nehalem', 'Opteron_G1', 'kvm64,kvm-poll-control']) {
  void t.test(`${cpu}: every value that the guest wrote is there after a restore`, needsKvm, async (t) => {
    using kvm = openKvm();
    const { identity, machine, writes, reads } = written(kvm, cpu);
    using source = machine;
    t.ok(writes.length > 80, `${writes.length} MSRs`);
    t.same(named(readAll(source, reads)), named(writes), 'the guest reads what it wrote');
    const state = source.saveState();
    using destination = machineOf(kvm, identity, null);
    t.same(destination.loadState(state), []);
    t.same(named(readAll(destination, reads)), named(writes), 'and after the restore');
    t.same(destination.saveState().vcpus[0]!.held, state.vcpus[0]!.held);
  });
}

/** The state of a guest that wrote to all, and what of it KVM holds. */
function oneState(kvm: Kvm): { identity: CpuIdentity; state: MachineState; carried: readonly MsrValue[] } {
  const { identity, machine, reads } = written(kvm, 'Nehalem');
  using source = machine;
  readAll(source, reads);
  const state = source.saveState();
  return { identity, state, carried: state.vcpus[0]!.msrs };
}

/** Why the state does not arrive on a KVM with faults that begin when it comes. */
function arrival(kvm: Kvm, state: MachineState, { refusesMsr, losesMsr, hidesMsr }: Faults): (string | null)[] {
  let arriving = false;
  const from = (fault: Faults['refusesMsr']) => (index: number) => arriving && (fault?.(index) ?? false);
  const faults = { refusesMsr: from(refusesMsr), losesMsr: from(losesMsr), hidesMsr: from(hidesMsr) };
  using destination = machineOf(injectFaults(kvm, faults), state.identity, null);
  arriving = true;
  return destination.loadState(state).map(({ msr }) => msr);
}

const FAULTS = ['refusesMsr', 'losesMsr', 'hidesMsr'] as const;

void t.test('a fault at any one MSR of a state that arrives is a refusal that names it', needsKvm, async (t) => {
  using kvm = openKvm();
  const { state, carried } = oneState(kvm);
  const reset = new Map(state.identity.msrs.map(({ index, value }) => [index, value]));
  t.same(arrival(kvm, state, {}), []);
  let faults = 0;
  for (const { index, value } of carried)
    for (const fault of FAULTS) {
      // What holds its reset value anyway cannot be lost, and time is read as what it is by then.
      if (fault !== 'refusesMsr' && countsTime(index)) continue;
      if (fault === 'losesMsr' && reset.get(index) === value) continue;
      faults++;
      const wanted = aliases(index, fault);
      const got = arrival(kvm, state, { [fault]: (asked: number) => wanted.includes(asked) });
      if (got.join() !== wanted.map(hex32).join()) t.fail(`${fault} ${msrLabel(index)}: named ${got.join()}`);
    }
  t.ok(faults > 100, `${faults} faults`);
});

/** The old and the new clock MSRs are one register: a kernel that loses one loses both. */
const aliases = (index: number, fault: (typeof FAULTS)[number]): number[] =>
  fault === 'losesMsr' && (index & ~1) === 0x4b564d00
    ? [index - 0x4b564d00 + 0x11, index]
    : fault === 'losesMsr' && (index === 0x11 || index === 0x12)
      ? [index, index - 0x11 + 0x4b564d00]
      : [index];

void t.test('several faults at once are all named', needsKvm, async () => {
  using kvm = openKvm();
  const { state, carried } = oneState(kvm);
  const some = fc.uniqueArray(fc.constantFrom(...carried.map(({ index }) => index)), { minLength: 2, maxLength: 8 });
  fc.assert(
    fc.property(some, (refused) => {
      const got = arrival(kvm, state, { refusesMsr: (index) => refused.includes(index) });
      return new Set(got).size === refused.length && refused.every((index) => got.includes(hex32(index)));
    }),
    { seed: 11, numRuns: 60 },
  );
});

/** Why a kernel with faults does not get the guest at all. */
function creation(kvm: Kvm, identity: CpuIdentity, faults: Faults): string[] {
  const options = { nameOf: noNames, allowAltered: true };
  const made = Machine.create(injectFaults(kvm, faults), identity, options);
  if (made.kind === 'refused') return made.reasons.map(({ code, msr }) => `${code} ${msr}`);
  made.machine[Symbol.dispose]();
  return [];
}

void t.test('a kernel that refuses, hides, or keeps a wrong reset value is refused by name', needsKvm, async (t) => {
  using kvm = openKvm();
  const { identity, carried } = oneState(kvm);
  t.same(creation(kvm, identity, {}), []);
  for (const { index, value } of carried) {
    const isIt = (asked: number) => asked === index;
    t.same(creation(kvm, identity, { refusesMsr: isIt }), [`msr-not-settable ${hex32(index)}`]);
    if (countsTime(index)) continue;
    t.same(creation(kvm, identity, { hidesMsr: isIt }), [`msr-not-kept ${hex32(index)}`]);
    const wrong = { startsMsrs: [{ index, value }], losesMsr: isIt };
    if (
      identity.msrs.find(({ index: own }) => own === index)!.value !== value &&
      aliases(index, 'losesMsr').length === 1
    )
      t.same(creation(kvm, identity, wrong), [`msr-not-kept ${hex32(index)}`]);
  }
});

void t.test('a state that lacks an MSR, or carries another, is refused by name', needsKvm, async (t) => {
  using kvm = openKvm();
  const { identity, state } = oneState(kvm);
  const [vcpu] = state.vcpus;
  const load = (changed: Partial<typeof vcpu>) => {
    using destination = machineOf(kvm, identity, null);
    return destination.loadState({ ...state, vcpus: [{ ...vcpu!, ...changed }] });
  };
  for (const index of travellingMsrs(identity, []))
    t.match(load({ msrs: vcpu!.msrs.filter((msr) => msr.index !== index) }), [
      { code: 'msr-missing', msr: hex32(index) },
    ]);
  const strange = { index: 0xc0000104, value: 1n << 32n };
  t.match(load({ msrs: [...vcpu!.msrs, strange] })[0], { code: 'msr-unknown', msr: '0xc0000104' });
  for (const held of [strange, { index: 0x10a, value: 1n }, { index: 0x1a0, value: 1n << 63n }])
    t.match(load({ held: [held] }), [{ code: 'msr-unknown', msr: hex32(held.index), contract: /^0x/ }]);
});

void t.test('a source does not save what the kernel hides', needsKvm, async (t) => {
  using kvm = openKvm();
  const { identity } = oneState(kvm);
  let hidden = 0;
  const faulty = injectFaults(kvm, { hidesMsr: (index) => index === hidden });
  using machine = machineOf(faulty, identity, null);
  for (const index of travellingMsrs(identity, [])) {
    hidden = index;
    t.throws(() => machine.saveState(), { code: 'msr-not-readable', message: new RegExp(hex32(index)) });
  }
});

void t.test('of a pair that follows its host, too, nothing is lost that its guest reaches', needsKvm, async (t) => {
  using kvm = openKvm();
  const identity = { ...identityOf(keptTable(kvm)), machine: 'pc-next', pair: 'pc-next/Test' };
  const own = travellingMsrs(identity, []);
  t.ok(own.length > 80, `${own.length} MSRs`);
  let hidden: number | null = null;
  using machine = machineOf(injectFaults(kvm, { hidesMsr: (index) => index === hidden }), identity, null);
  using destination = machineOf(kvm, identity, null);
  const state = machine.saveCore();
  const [vcpu] = state.vcpus;
  t.same(destination.loadCore(state), []);
  for (const index of own) {
    hidden = index;
    t.throws(() => machine.saveCore(), { code: 'msr-not-readable', message: new RegExp(hex32(index)) });
    const without = vcpu!.msrs.filter((msr) => msr.index !== index);
    const lacking = destination.loadCore({ ...state, vcpus: [{ ...vcpu!, msrs: without }] });
    t.match(lacking, [{ code: 'msr-missing', msr: hex32(index) }]);
  }
  // Linux 5.10 lists MSRs that it does not let us read; they are not of the CPU, so that its guest has nothing there.
  hidden = kvm.msrIndices().find((index) => !own.includes(index))!;
  t.notOk(machine.saveCore().vcpus[0]!.msrs.some(({ index }) => index === hidden));
});
