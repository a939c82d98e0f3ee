import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { CpuidTable } from '../../corpora/cpuid.js';
import { hex32 } from '../../corpora/hex.js';
import { flatMachine, identityOf, keptTable, needsKvm, noNames, smallFileSystem } from '../fixtures.js';
import { type Faults, injectFaults } from '../kvm/inject.js';
import type { Kvm } from '../kvm/kvm.js';
import { openKvm } from '../kvm/system.js';
import { Machine } from '../monitor.js';
import { ContainerError } from './container.js';
import { readSnapshot, writeSnapshot } from './file.js';
import type { MachineState } from './machine-state.js';

/** 1: incl (0x200000); mov (0x200000), %eax; out %eax, $0xf4; jmp 1b: says how often it went round. */
const COUNTER = [0xff, 5, 0, 0, 0x20, 0, 0xa1, 0, 0, 0x20, 0, 0xe7, 0xf4, 0xeb, 0xf1];
const TIME = new Set([0x10, 0xe7, 0xe8, 0x6e0, 0x40000020]);

function count(machine: Machine, times = 1): number {
  let code = 0;
  for (let i = 0; i < times; i++) {
    const event = machine.run({ timeoutMs: 1000 });
    if (event.kind !== 'exit') throw new Error(`${event.kind} instead of a count`);
    code = event.code;
  }
  return code;
}

/** A machine without an image, of the identity of a state. */
function emptyMachine(kvm: Kvm, { identity, memoryBytes }: Pick<MachineState, 'identity' | 'memoryBytes'>): Machine {
  const creation = Machine.create(kvm, identity, { nameOf: noNames, forceFeatures: true, memoryBytes });
  if (creation.kind === 'refused') throw new Error(creation.reasons[0]!.message);
  return creation.machine;
}

const inFolder = <T>(use: (folder: string) => T): T => {
  const folder = mkdtempSync(join(tmpdir(), 'guest-abi-snapshot-'));
  try {
    return use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
};

void t.test('a guest goes on counting where it was saved, at any point, from a file', needsKvm, async (t) => {
  using kvm = openKvm();
  inFolder((folder) => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), (times) => {
        using source = flatMachine(kvm, COUNTER);
        count(source, times);
        const file = join(folder, 'guest.snapshot');
        writeSnapshot(file, source.saveState());
        t.strictSame(readdirSync(folder), ['guest.snapshot'], 'no temporary file stays');
        const state = readSnapshot(file);
        using destination = emptyMachine(kvm, state);
        t.strictSame(destination.loadState(state), []);
        t.equal(count(destination), times + 1);
        t.equal(count(source), times + 1, 'and the source can go on too');
      }),
      { seed: 1, numRuns: 8 },
    );
  });
});

void t.test('a state that was loaded is the state that was saved, time aside', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, COUNTER);
  count(source, 3);
  source.sendSerial(Uint8Array.of(1, 2, 3));
  const saved = source.saveState();
  using destination = emptyMachine(kvm, saved);
  t.strictSame(destination.loadState(saved), []);
  const again = destination.saveState();
  t.strictSame(again.devices, saved.devices);
  t.strictSame(again.pages, saved.pages);
  t.strictSame(again.vcpus[0]!.parts, saved.vcpus[0]!.parts);
  const steady = (state: MachineState) => state.vcpus[0]!.msrs.filter(({ index }) => !TIME.has(index));
  t.strictSame(steady(again), steady(saved));
  t.ok(steady(saved).length > 20);
  t.ok(
    again.clock.clock >= saved.clock.clock && again.clock.clock - saved.clock.clock < 5_000_000_000n,
    'kvmclock goes on',
  );
});

void t.test('the TSC of a guest that was saved within its first second does not run back', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, COUNTER);
  count(source);
  const saved = source.saveState();
  const tscOf = (state: MachineState) => state.vcpus[0]!.msrs.find(({ index }) => index === 0x10)!.value;
  const second = BigInt(saved.vcpus[0]!.tscKhz) * 1000n;
  const early = {
    ...saved.vcpus[0]!,
    msrs: saved.vcpus[0]!.msrs.map((msr) => (msr.index === 0x10 ? { ...msr, value: second / 2n } : msr)),
  };
  const state = { ...saved, vcpus: [early] };
  using destination = emptyMachine(kvm, state);
  t.strictSame(destination.loadState(state), []);
  const tsc = tscOf(destination.saveState());
  t.ok(tsc >= second / 2n, `it was ${second / 2n}, and is ${tsc}`);
});

void t.test('every byte of a snapshot counts: any one changed is refused, and every cut', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, COUNTER, { memoryBytes: 0x20_1000 });
  count(source);
  inFolder((folder) => {
    const file = join(folder, 'guest.snapshot');
    t.equal(writeSnapshot(file, source.saveState()), readFileSync(file).length);
    const bytes = readFileSync(file);
    const fd = openSync(file, 'r+');
    const refusedWith = (byte: number, at: number): boolean => {
      writeSync(fd, Uint8Array.of(byte), 0, 1, at);
      try {
        readSnapshot(file);
        return false;
      } catch (error) {
        return error instanceof ContainerError;
      } finally {
        writeSync(fd, bytes, at, 1, at);
      }
    };
    t.notOk(refusedWith(bytes[0]!, 0));
    const ramOffset = bytes.length - 0x20_1000;
    // The container, the byte behind it (which says nothing), the first and last of each page.
    const container = Number(bytes.readBigUInt64LE(16));
    const places = Array.from({ length: container }, (_, at) => at).filter((at) => at < 100 || at % 101 === 0);
    const pages = Array.from({ length: 0x201 }, (_, page) => ramOffset + page * 4096).filter(
      (_, page) => page % 50 === 0,
    );
    const accepted = [...places, ...pages, ...pages.map((page) => page + 4095), bytes.length - 1].filter(
      (at) => !refusedWith(bytes[at]! ^ (1 << (at % 8)), at),
    );
    closeSync(fd);
    t.strictSame(accepted, []);
    for (const length of [0, 1, 23, 24, 100, container, ramOffset, bytes.length - 1]) {
      writeFileSync(file, bytes.subarray(0, length));
      t.throws(() => readSnapshot(file), { code: 'bad-container', exitCode: 2, message: /guest\.snapshot: / });
    }
    writeFileSync(file, Buffer.concat([bytes, Buffer.alloc(1)]));
    t.throws(() => readSnapshot(file), { code: 'bad-container' });
    writeFileSync(file, '#!/bin/sh\necho this is no snapshot of anything\n');
    t.throws(() => readSnapshot(file), { code: 'bad-container', message: /not a guest-abi snapshot/ });
    t.throws(() => readSnapshot(folder), { code: 'unreadable-file' });
  });
});

void t.test('a file of pages that are zeros takes no room, and says so if they are lost', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, COUNTER, { memoryBytes: 64 << 20 });
  count(source);
  inFolder((folder) => {
    const file = join(folder, 'guest.snapshot');
    const bytes = writeSnapshot(file, source.saveState());
    t.ok(bytes > 64 << 20 && bytes < (64 << 20) + 0x2_0000, 'the size is that of the memory and the state');
    t.ok(statSync(file).blocks * 512 < 1 << 20, 'on disk it is small');
    const whole = readSnapshot(file).pages.length;
    t.ok(whole > 0 && whole < 20);
    // The end as a hole: what a copy that was cut and extended looks like.
    truncateSync(file, bytes - (64 << 20));
    truncateSync(file, bytes);
    t.throws(() => readSnapshot(file), {
      code: 'bad-container',
      message: /the page at 0x100000 is not as it was saved/,
    });
  });
});

const tiny = smallFileSystem(t, '16k');

void t.test(
  'a full disk is one clear error, and leaves nothing',
  { skip: needsKvm.skip || (!tiny && 'may not mount a file system') },
  async (t) => {
    using kvm = openKvm();
    using source = flatMachine(kvm, COUNTER);
    const state = source.saveState();
    t.throws(() => writeSnapshot(join(tiny!, 'guest.snapshot'), state), {
      ...{ code: 'file-not-written', exitCode: 3 },
      message: /^cannot write .*guest\.snapshot: ENOSPC$/,
    });
    t.strictSame(readdirSync(tiny!), []);
  },
);

void t.test('a folder that cannot be written is one clear error', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, COUNTER);
  const state = source.saveState();
  for (const folder of ['/dev/null', '/proc', '/no/such/folder'])
    t.throws(() => writeSnapshot(`${folder}/guest.snapshot`, state), { code: 'file-not-written', exitCode: 3 });
});

void t.test('whatever a destination does not take or keep is named', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, COUNTER);
  count(source);
  const state = source.saveState();
  // Reset values are set and read back before the state comes: the faults begin after that.
  const arrive = ({ setState, ...faults }: Faults) => {
    let arriving = false;
    const of = (fault: ((index: number) => boolean) | undefined) => (index: number) => arriving && !!fault?.(index);
    const { refusesMsr, hidesMsr } = faults;
    const later = { refusesMsr: of(refusesMsr), hidesMsr: of(hidesMsr), ...(setState ? { setState } : {}) };
    using destination = emptyMachine(injectFaults(kvm, later), state);
    arriving = true;
    return destination.loadState(state);
  };
  t.strictSame(arrive({}), []);
  const steady = state.vcpus[0]!.msrs.filter(({ index, value }) => !TIME.has(index) && value !== 0n);
  t.ok(steady.length > 1);
  const [one, two] = [steady[0]!.index, steady[1]!.index];
  const refused = arrive({ refusesMsr: (index) => index === one || index === two });
  t.ok(refused.every(({ code }) => code === 'msr-not-settable'));
  t.same(new Set(refused.map(({ msr }) => msr)), new Set([hex32(one), hex32(two)]), 'all, not only the first');
  t.match(arrive({ hidesMsr: (index) => index === one }), [{ code: 'msr-not-kept', msr: hex32(one), layer: 'kernel' }]);
  const einval = (part: string) => ({
    setState: (name: string, bytes: Uint8Array) => (name === part ? bytes.subarray(1) : bytes),
  });
  t.match(arrive(einval('xsave')), [{ code: 'state-not-settable', message: /state 'xsave': KVM_SET_XSAVE: EINVAL/ }]);
});

void t.test('MSRs that the source wrote and the destination loses are named', needsKvm, async (t) => {
  using kvm = openKvm();
  // mov $0x174, %ecx; mov $8, %eax; xor %edx, %edx; wrmsr; out %eax, $0xf4
  using source = flatMachine(kvm, [0xb9, 0x74, 1, 0, 0, 0xb8, 8, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x30, 0xe7, 0xf4, 0xf4]);
  count(source);
  const state = source.saveState();
  using destination = emptyMachine(injectFaults(kvm, { losesMsr: (index) => index === 0x174 }), state);
  t.match(destination.loadState(state), [
    { code: 'msr-not-kept', msr: '0x00000174', contract: '0x0000000000000008', guest: '0x0000000000000000' },
  ]);
});

void t.test('a state of another machine is refused', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, COUNTER);
  const state = source.saveState();
  using larger = emptyMachine(kvm, { ...state, memoryBytes: 8 << 20 });
  t.throws(() => larger.loadState(state), { code: 'other-machine', exitCode: 2 });
  using same = emptyMachine(kvm, state);
  t.throws(() => same.loadState({ ...state, devices: {} }), {
    code: 'other-machine',
    message: /no device 'serial-16550'/,
  });
  const table = keptTable(kvm);
  const rows = table.rows.map((row) => (row.leaf === 1 ? { ...row, eax: row.eax ^ 0x10 } : row));
  const other = { ...state, identity: identityOf(new CpuidTable(rows)) };
  t.match(same.loadState(other), [{ code: 'identity-altered', leaf: '0x00000001', register: 'eax' }]);
});

void t.test('a halted guest stays halted, and a reset starts it anew', needsKvm, async (t) => {
  using kvm = openKvm();
  const HLT = [0xe6, 0xf4, 0xf4, 0xeb, 0xfd];
  using source = flatMachine(kvm, HLT);
  count(source);
  t.equal(source.run({ timeoutMs: 20 }).kind, 'timed-out');
  const state = source.saveState();
  using destination = emptyMachine(kvm, state);
  t.strictSame(destination.loadState(state), []);
  t.equal(destination.run({ timeoutMs: 20 }).kind, 'timed-out');
  source.reset();
  t.equal(source.run({ timeoutMs: 1000 }).kind, 'exit');
  t.throws(() => destination.reset(), { code: 'nothing-to-boot' }, 'without an image there is nothing to start');
});
