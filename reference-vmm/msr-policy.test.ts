/** What a guest gets of an MSR: from the filter that KVM is given, and from the monitor where that denies. */
import t from 'tap';
import type { MsrValue } from '../corpora/identity.js';
import { msrLabel } from '../corpora/msrs.js';
import { msrsOf } from './cpu-model/msrs.js';
import { resolve } from './cpu-model/resolve.js';
import { differentIdentities, needsGroundTruth, qemuMsrs } from './ground-truth.js';
import type { MsrFilter } from './kvm/kvm.js';
import { denyAllBut, MAX_RANGES } from './msr-filter.js';
import { type KernelMsrs, MsrPolicy } from './msr-policy.js';

const identityOf = (cpu: string, machine = 'pc-i440fx-7.2') => resolve({ machine, cpu });

/** As KVM does: the first range that has the MSR for this access decides (Linux arch/x86/kvm/x86.c, `kvm_msr_allowed`). */
function allows({ byDefault, ranges }: MsrFilter, index: number, access: 'read' | 'write'): boolean {
  const range = ranges.find(
    ({ base, allowed, access: of }) => of.includes(access) && index >= base && index < base + allowed.length,
  );
  return range ? range.allowed[index - range.base]! : byDefault === 'allow';
}

/** A kernel's MSRs in a map; 32-bit paging is off. */
function kernelOf(values: readonly MsrValue[] = [], paging = false): KernelMsrs & { readonly set: KernelMsrs['set'] } {
  const held = new Map(values.map(({ index, value }) => [index, value]));
  return {
    get: (index) => held.get(index) ?? 0n,
    set: (index, value) => {
      held.set(index, value);
      return true;
    },
    paging: () => paging,
  };
}

/** A guest's accesses to one policy. */
function guestOf(cpu: string, kernel = kernelOf()) {
  const policy = new MsrPolicy(identityOf(cpu));
  const read = (index: number) => policy.answer({ reason: 'rdmsr', index, value: 0n }, kernel);
  const write = (index: number, value: bigint) => policy.answer({ reason: 'wrmsr', index, value }, kernel);
  return { policy, read, write, kernel };
}

void t.test('the filter lets through what KVM holds, and nothing else', async (t) => {
  const filter = new MsrPolicy(identityOf('EPYC')).filter();
  const msrs = msrsOf(identityOf('EPYC'));
  const wrong: string[] = [];
  for (const [first, last] of [
    [0, 0x1fff],
    [0x40000000, 0x400001ff],
    [0x4b564d00, 0x4b564dff],
    [0xc0000000, 0xc0002fff],
    [0xc0010000, 0xc0011fff],
  ] as const)
    for (let index = first; index <= last; index++) {
      const { held, access } = msrs.find((msr) => msr.index === index)?.definition ?? {
        held: 'monitor',
        access: 'read',
      };
      const read = held !== 'monitor' && access !== 'write';
      const write = held === 'kernel' && access !== 'read';
      if (allows(filter, index, 'read') !== read || allows(filter, index, 'write') !== write)
        wrong.push(msrLabel(index));
    }
  t.same(wrong, []);
});

void t.test('every pair fits into what KVM takes as a filter', needsGroundTruth, async (t) => {
  const identities = differentIdentities();
  const hv = identityOf('EPYC,hv-relaxed,hv-vapic,hv-time,hv-vpindex,hv-runtime,kvm-poll-control,kvm-asyncpf-int');
  const filters = [...identities, hv].map((identity) => new MsrPolicy(identity).filter());
  t.ok(filters.every(({ ranges }) => ranges.length <= MAX_RANGES));
  t.ok(filters.every(({ ranges }) => ranges.every(({ allowed }) => allowed.length <= 0x600 * 8)));
  t.ok(filters.every(({ byDefault, ranges }) => byDefault === 'deny' && ranges.length > 0));
});

void t.test('a filter of nothing still denies, and one of too much is an error', async (t) => {
  t.equal(allows(denyAllBut([], []), 0x10, 'read'), false);
  const far = Array.from({ length: MAX_RANGES + 1 }, (_, i) => i * 0x10000);
  t.throws(() => denyAllBut(far, []), RangeError);
});

void t.test('constants come from the model, and what QEMU writes is what they are', needsGroundTruth, async (t) => {
  const { read } = guestOf('Cascadelake-Server-v2');
  t.equal(read(0x8b), 0x1_0000_0000n);
  t.equal(read(0x10a), 0x2bn);
  t.equal(read(0x1a0), 1n);
  t.equal(guestOf('EPYC').read(0x8b), 0x100_0065n);
  const wrong: string[] = [];
  for (const [machine, models] of Object.entries(qemuMsrs('10.0')))
    for (const [model, written] of Object.entries(models)) {
      const identity = identityOf(model, machine);
      const values = new Map(identity.msrs.map(({ index, value }) => [index, value]));
      for (const [index, value] of Object.entries(written)) {
        const own = values.get(Number.parseInt(index, 16));
        if (own !== undefined && own !== BigInt(`0x${value}`)) wrong.push(`${identity.pair} ${index}: ${own} ${value}`);
      }
    }
  t.same(wrong, []);
});

void t.test('attributes of the CPU cannot be written; the microcode revision swallows it', async (t) => {
  const { read, write } = guestOf('Cascadelake-Server-v2');
  t.equal(write(0x10a, 0n), '#GP');
  t.equal(write(0xfe, 0x508n), '#GP');
  t.equal(write(0x8b, 0n), 0n);
  t.equal(read(0x8b), 0x1_0000_0000n);
  t.equal(write(0x79, 0x1000n), 0n);
  t.equal(read(0x79), '#GP');
});

void t.test('writable bits are kept, some are swallowed, reserved ones fault', async (t) => {
  const { policy, read, write } = guestOf('Nehalem');
  t.equal(write(0x1a0, 0x40_0009n | 0x1880n), 0n);
  t.equal(read(0x1a0), 0x40_0009n, 'bits 7, 11 and 12 cannot be written');
  t.equal(write(0x1a0, 1n << 63n), '#GP');
  t.same(policy.save(), [{ index: 0x1a0, value: 0x40_0009n }]);
  t.equal(write(0x1d9, 3n), 0n);
  t.equal(read(0x1d9), 0n);
  t.equal(write(0x1d9, 1n << 6n), '#GP');
  policy.reset();
  t.equal(read(0x1a0), 1n);
});

void t.test('machine-check banks take 0, and on AMD anything once HWCR says so', async (t) => {
  const { read, write } = guestOf('EPYC');
  t.equal(write(0x401, 5n), '#GP');
  t.equal(write(0xc0010015, 1n << 18n), 0n);
  t.equal(write(0x401, 5n), 0n);
  t.equal(read(0x401), 5n);
  t.equal(guestOf('Nehalem').write(0x401, 5n), '#GP');
});

void t.test('a judged write reaches KVM as the CPU would keep it', async (t) => {
  const amd = guestOf('EPYC');
  t.equal(amd.write(0x175, 0xffff_8000_1234_5678n), 0n);
  t.equal(amd.kernel.get(0x175), 0x1234_5678n, 'AMD keeps 32 bits');
  const intel = guestOf('Nehalem');
  t.equal(intel.write(0x175, 0xffff_8000_1234_5678n), 0n);
  t.equal(intel.kernel.get(0x175), 0xffff_8000_1234_5678n);
  t.equal(intel.write(0x176, 0x1234_0000_0000_0000n), '#GP', 'not canonical');
});

void t.test('EFER: LMSLE and what the CPU lacks fault, LME only changes without paging', async (t) => {
  const EFER = 0xc0000080;
  const { write, kernel } = guestOf('EPYC');
  t.equal(write(EFER, 1n << 13n), '#GP', 'LMSLE');
  t.equal(write(EFER, 1n << 12n), '#GP', 'SVME without svm');
  t.equal(write(EFER, 0x901n), 0n);
  t.equal(kernel.get(EFER), 0x901n);
  const paging = guestOf('EPYC', kernelOf([{ index: EFER, value: 0x901n }], true));
  t.equal(paging.write(EFER, 0x801n), '#GP');
  t.equal(paging.write(EFER, 0x900n), 0n);
  t.equal(guestOf('qemu32').write(EFER, 0x100n), '#GP', 'no long mode');
});

void t.test('an MSR of no CPU of this kind faults, whatever the kernel has', async (t) => {
  const { read, write } = guestOf('EPYC', kernelOf([{ index: 0xc0010200, value: 7n }]));
  for (const index of [0xc0010200, 0xc0010130, 0x40000118, 0x309, 0x4b564d06, 0xdeadbeef]) {
    t.equal(read(index), '#GP', msrLabel(index));
    t.equal(write(index, 0n), '#GP', msrLabel(index));
  }
});

void t.test('the guest of an open pair reaches what is its own, and what is new and travels', async (t) => {
  const policy = new MsrPolicy({ ...identityOf('EPYC'), machine: 'pc-next' });
  const [LSTAR, MICROCODE, NEW, GHCB, HV_GUEST_OS] = [0xc0000082, 0x8b, 0x4b564d7f, 0xc0010130, 0x40000000];
  const filter = policy.filter(() => [NEW, HV_GUEST_OS]);
  for (const index of [LSTAR, MICROCODE, NEW]) t.ok(allows(filter, index, 'read'), msrLabel(index));
  for (const index of [GHCB, HV_GUEST_OS, NEW + 1]) t.notOk(allows(filter, index, 'read'), msrLabel(index));
  t.ok(allows(filter, NEW, 'write'));
  t.notOk(
    allows(
      policy.filter(() => []),
      NEW,
      'read',
    ),
    'not where its state did not bring it',
  );
  t.ok(policy.kernelResets.some(({ index, value }) => index === 0x8b && value === 0x100_0065n));
});

void t.test('what the monitor holds travels; values that it cannot hold do not', async (t) => {
  const source = guestOf('EPYC');
  source.write(0x400, 0x1234n);
  source.write(0xc0010015, 1n << 24n);
  const saved = source.policy.save();
  const destination = guestOf('EPYC');
  t.same(destination.policy.load(saved), []);
  t.equal(destination.read(0x400), 0x1234n);
  t.same(destination.policy.save(), saved);
  const bad = [
    { index: 0xc0010015, value: 1n },
    { index: 0x10, value: 0n },
    { index: 0x8b, value: 7n },
  ];
  t.same(destination.policy.load([...saved, ...bad]), bad);
  t.equal(destination.read(0x400), 2n ** 64n - 1n, 'nothing of it was taken');
});
