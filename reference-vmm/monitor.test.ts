import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { type CpuidRow, CpuidTable, REGISTERS } from '../corpora/cpuid.js';
import { packageFile } from '../corpora/package-root.js';
import { COMMAND, encodeWrite, RECORD_FLAG, SHUTDOWN_CODE } from '../corpora/probe-abi.js';
import { flatMachine, identityOf, keptTable, needsKvm, nextProbeWords, noNames } from './fixtures.js';
import { type Faults, injectFaults } from './kvm/inject.js';
import type { Kvm } from './kvm/kvm.js';
import { openKvm } from './kvm/system.js';
import { type Creation, Machine, type MachineOptions } from './monitor.js';

const PROBE = readFileSync(packageFile('guest-probes/cpu-state/probe.elf'));
const probe = (protocol: 'multiboot' | 'pvh') => ({ image: { name: 'probe', bytes: PROBE, protocol } });

const create = (kvm: Kvm, table: CpuidTable, options: Partial<MachineOptions> = {}): Creation =>
  Machine.create(kvm, identityOf(table), {
    nameOf: noNames,
    forceFeatures: true,
    boot: probe('multiboot'),
    ...options,
  });

function created(creation: Creation): Machine {
  if (creation.kind === 'refused') throw new Error(creation.reasons[0]!.message);
  return creation.machine;
}

const SEQUENCE = 4;
const FLAGS = 5;
const command = (machine: Machine, name: keyof typeof COMMAND) => machine.sendSerial(Uint8Array.of(COMMAND[name]));

void t.test('the probe boots by multiboot and by PVH, dumps again, and shuts down', needsKvm, async (t) => {
  using kvm = openKvm();
  for (const protocol of ['multiboot', 'pvh'] as const) {
    using machine = created(create(kvm, keptTable(kvm), { boot: probe(protocol) }));
    machine.start();
    const first = nextProbeWords(machine);
    t.equal(first[FLAGS], protocol === 'pvh' ? RECORD_FLAG.pvh : 0);
    command(machine, 'dump');
    t.strictSame([first[SEQUENCE], nextProbeWords(machine)[SEQUENCE]], [0, 1]);
    command(machine, 'shutdown');
    t.strictSame(machine.run({ timeoutMs: 1000 }), { kind: 'exit', code: SHUTDOWN_CODE });
  }
});

void t.test('the guest sees the table that was read back, row by row', needsKvm, async (t) => {
  using kvm = openKvm();
  const table = keptTable(kvm);
  using machine = created(create(kvm, table));
  machine.start();
  const words = [...nextProbeWords(machine)];
  for (const { leaf, subleaf, ...answer } of table)
    if (leaf < 0x40000000 || leaf >= 0x80000000) {
      const row = [leaf, subleaf ?? 0, ...REGISTERS.map((name) => answer[name])];
      const found = words.some((_, at) => row.every((word, i) => words[at + i] === word));
      t.ok(found || subleaf !== null, `row ${leaf.toString(16)}`);
    }
});

const SYSENTER_CS = 0x174;
/** IA32_MC0_CTL: the monitor holds it. */
const MC0_CTL = 0x400;
const writeMsr = (machine: Machine, index: number, value: number): void => {
  machine.sendSerial(encodeWrite({ index, value: BigInt(value) }));
};

void t.test('every way to ask for a reset ends in a machine as at power-on', needsKvm, async (t) => {
  using kvm = openKvm();
  using machine = created(create(kvm, keptTable(kvm)));
  machine.start();
  const first = nextProbeWords(machine);
  const stateOf = () => machine.saveState().vcpus[0]!;
  const msrOf = () => stateOf().msrs.find(({ index }) => index === SYSENTER_CS)!.value;
  const ways = {
    resetControl: 'reset-control',
    resetKeyboard: 'keyboard',
    tripleFault: 'triple-fault',
    init: 'init',
  } as const;
  for (const [name, by] of Object.entries(ways) as [keyof typeof ways, string][]) {
    writeMsr(machine, SYSENTER_CS, 0x1234);
    nextProbeWords(machine);
    t.equal(msrOf(), 0x1234n);
    writeMsr(machine, MC0_CTL, 0x1234);
    nextProbeWords(machine);
    t.strictSame(stateOf().held, [{ index: MC0_CTL, value: 0x1234n }]);
    command(machine, name);
    t.match(machine.run({ timeoutMs: 1000 }), { kind: 'reset', by });
    machine.reset();
    t.equal(msrOf(), 0n, `${by}: MSRs are reset`);
    t.strictSame(stateOf().held, [], `${by}: those that the monitor holds too`);
    t.strictSame([...nextProbeWords(machine)], [...first], `${by}: the same dump`);
  }
});

void t.test('any bit that the kernel changes is refused and named, before the first run', needsKvm, async (t) => {
  using kvm = openKvm();
  const table = keptTable(kvm);
  fc.assert(
    fc.property(fc.nat(table.size - 1), fc.constantFrom(...REGISTERS), fc.nat(31), (at, register, bit) => {
      const flip = (from: CpuidTable): CpuidTable =>
        new CpuidTable(
          from.rows.map(
            (row, i): CpuidRow => (i === at ? { ...row, [register]: (row[register] ^ (1 << bit)) >>> 0 } : row),
          ),
        );
      const faulty = injectFaults(kvm, { getCpuid2: flip });
      const options = { nameOf: (_: unknown, n: number) => `bit-${n}` };
      const refused = create(faulty, table, options);
      if (refused.kind !== 'refused') throw new Error('it was accepted');
      const { leaf, subleaf } = table.rows[at]!;
      t.match(refused.reasons, [
        { code: 'cpuid-altered', register, feature: `bit-${bit}`, leaf: new RegExp(leaf.toString(16)) },
      ]);
      t.equal(refused.reasons.length, 1, `${leaf}.${subleaf}`);
      const allowed = create(faulty, table, { ...options, allowAltered: true });
      if (allowed.kind !== 'created') throw new Error('allowAltered refused');
      t.strictSame(allowed.altered, refused.reasons, 'the same reasons, and it runs');
      allowed.machine[Symbol.dispose]();
    }),
    { seed: 1, numRuns: 60 },
  );
});

void t.test('a table that the kernel keeps runs without any reason', needsKvm, async (t) => {
  using kvm = openKvm();
  const creation = create(kvm, keptTable(kvm));
  t.match(creation, { kind: 'created', altered: [] });
  created(creation)[Symbol.dispose]();
});

void t.test('what the host does not offer is refused, or forced and listed', needsKvm, async (t) => {
  using kvm = openKvm();
  const table = keptTable(kvm);
  const [LEAF, BIT] = [0x80000001, 3];
  const withBit = (from: CpuidTable, on: boolean): CpuidTable =>
    new CpuidTable(
      from.rows.map((row) =>
        row.leaf === LEAF ? { ...row, ecx: (on ? row.ecx | (1 << BIT) : row.ecx & ~(1 << BIT)) >>> 0 } : row,
      ),
    );
  const poorer = injectFaults(kvm, { supportedCpuid: (supported) => withBit(supported, false) });
  const nameOf = (field: { leaf: number; register: string }, bit: number) =>
    field.leaf === LEAF && field.register === 'ecx' && bit === BIT ? 'extapic' : undefined;
  const refused = create(poorer, withBit(table, true), { nameOf, forceFeatures: false });
  if (refused.kind !== 'refused') return void t.fail('it was accepted');
  t.match(
    refused.reasons.filter(({ feature }) => feature === 'extapic'),
    [{ code: 'cpuid-not-offered', message: /80000001\.ECX\[3\] \(extapic\): contract 1, host offers 0/ }],
  );
  const forced = create(poorer, withBit(table, true), { nameOf });
  if (forced.kind !== 'created') return void t.fail('force-features refused');
  t.ok(forced.forced.includes('extapic'));
  forced.machine[Symbol.dispose]();
});

void t.test('a table that the kernel will not take is a refusal, not an error', needsKvm, async (t) => {
  using kvm = openKvm();
  const rows = Array.from({ length: 300 }, (_, leaf) => ({ leaf, subleaf: null, eax: 0, ebx: 0, ecx: 0, edx: 0 }));
  const creation = create(kvm, new CpuidTable(rows));
  t.match(creation, {
    kind: 'refused',
    reasons: [{ code: 'cpuid-not-settable', message: 'KVM_SET_CPUID2: E2BIG (argument list too long)' }],
  });
});

void t.test(
  'an MSR of the identity that the kernel refuses or loses is a refusal that names it',
  needsKvm,
  async (t) => {
    using kvm = openKvm();
    const wanted = { index: SYSENTER_CS, value: 0x10n };
    const withMsr = { ...identityOf(keptTable(kvm)), msrs: [wanted] };
    const attempt = (faults: Faults) =>
      Machine.create(injectFaults(kvm, faults), withMsr, { nameOf: noNames, forceFeatures: true });
    const isIt = (index: number) => index === SYSENTER_CS;
    t.match(attempt({ refusesMsr: isIt }), {
      kind: 'refused',
      reasons: [{ code: 'msr-not-settable', msr: '0x00000174', step: 'boot' }],
    });
    t.match(attempt({ losesMsr: isIt }), { kind: 'refused', reasons: [{ code: 'msr-not-kept', msr: '0x00000174' }] });
    const right = attempt({});
    t.equal(
      created(right)
        .saveState()
        .vcpus[0]!.msrs.find(({ index }) => isIt(index))?.value,
      0x10n,
    );
    created(right)[Symbol.dispose]();
  },
);

void t.test('a guest that KVM cannot go on with is a crash with registers and instruction', needsKvm, async (t) => {
  using kvm = openKvm();
  // mov $0xd0000000, %eax; jmp *%eax: there is nothing to execute
  using lost = flatMachine(kvm, [0xb8, 0, 0, 0, 0xd0, 0xff, 0xe0]);
  const event = lost.run({ timeoutMs: 1000 });
  if (event.kind !== 'crashed') return void t.fail(event.kind);
  t.match(event.crash, {
    cause: 'internal-error',
    message: /^KVM_EXIT_INTERNAL_ERROR, suberror 1 .* rax=0xd0000000 /,
    regs: { rip: 0xd0000000n },
  });
});

const dword = (value: number): number[] => [0, 8, 16, 24].map((bit) => (value >>> bit) & 0xff);
/** movl $value, address */
const store = (address: number, value: number): number[] => [0xc7, 0x05, ...dword(address), ...dword(value)];

/** Long mode with 2 MiB pages: the first 4 MiB at 0 and at 2 GiB. Goes on at 2 GiB with `code`, in compatibility mode. */
function pagedCode(code: readonly number[]): number[] {
  const [PML4, PDPT, PD] = [0x20_0000, 0x20_1000, 0x20_2000];
  const tables = [
    ...[store(PML4, PDPT | 3), store(PDPT, PD | 3), store(PDPT + 16, PD | 3)],
    ...[store(PD, 0x83), store(PD + 8, 0x20_0083)],
  ];
  const switchOn = [
    // CR3; CR4.PAE; EFER.LME; CR0.PG
    ...[0xb8, ...dword(PML4), 0x0f, 0x22, 0xd8, 0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0],
    ...[0xb9, ...dword(0xc000_0080), 0x0f, 0x32, 0x0d, ...dword(0x100), 0x0f, 0x30],
    ...[0x0f, 0x20, 0xc0, 0x0d, ...dword(0x8000_0000), 0x0f, 0x22, 0xc0],
  ];
  const before = [...tables.flat(), ...switchOn];
  // mov $here, %eax; jmp *%eax
  return [...before, 0xb8, ...dword(0x8010_0000 + before.length + 7), 0xff, 0xe0, ...code];
}

void t.test('a guest that ends with paging on says its instruction all the same', needsKvm, async (t) => {
  using kvm = openKvm();
  using spinning = flatMachine(kvm, pagedCode([0xeb, 0xfe, 0x90]));
  t.match(spinning.run({ timeoutMs: 100 }), {
    kind: 'timed-out',
    crash: { message: /at 8:801000.., instruction bytes eb fe 90 .* cr0=0x80000011 / },
  });
  // lidt of zeros; ud2
  using faulting = flatMachine(kvm, pagedCode([0x0f, 0x01, 0x1d, ...dword(0x10_1000), 0x0f, 0x0b]));
  const event = faulting.run({ timeoutMs: 1000 });
  t.match(event, {
    kind: 'reset',
    by: 'triple-fault',
    crash: { cause: 'triple-fault', message: /^KVM_EXIT_SHUTDOWN \(triple fault\) at .*; rax=/ },
  });
  // KVM on AMD hardware keeps no registers of it (Linux svm.c, shutdown_interception).
  const { module } = kvm.facts;
  if (module !== 'kvm_amd') t.match(event, { crash: { message: /at 8:801000.., instruction bytes 0f 0b / } });
});

void t.test('a doorbell with a bad address is a crash of the guest, not of the monitor', needsKvm, async (t) => {
  using kvm = openKvm();
  // mov $0xff000000, %eax; out %eax, $0xe9
  using machine = flatMachine(kvm, [0xb8, 0, 0, 0, 0xff, 0xe7, 0xe9, 0xf4]);
  const event = machine.run({ timeoutMs: 1000 });
  if (event.kind !== 'crashed') return void t.fail(event.kind);
  t.match(event.crash, {
    cause: 'guest-address',
    message: /^guest-physical 0xff000000 \+ 24 bytes is not in guest memory at 8:10000/,
  });
});

void t.test('where no memory is, reads give all ones and writes are lost', needsKvm, async (t) => {
  using kvm = openKvm();
  // mov %eax, 0xd0000000; mov 0xd0000000, %eax; out %eax, $0xf4
  const code = [0xa3, 0, 0, 0, 0xd0, 0xa1, 0, 0, 0, 0xd0, 0xe7, 0xf4];
  using machine = flatMachine(kvm, code);
  t.strictSame(machine.run({ timeoutMs: 1000 }), { kind: 'exit', code: 0xffff_ffff });
});

void t.test('a string output reaches the device whole, whatever KVM makes of it', needsKvm, async (t) => {
  using kvm = openKvm();
  const seen: number[] = [];
  // mov $0x100011, %esi; mov $5, %ecx; mov $0x3f8, %dx; rep outsb; hlt; "hello"
  const code = [0xbe, 0x11, 0, 0x10, 0, 0xb9, 5, 0, 0, 0, 0x66, 0xba, 0xf8, 3, 0xf3, 0x6e, 0xf4];
  using machine = flatMachine(kvm, [...code, ...Buffer.from('hello')], { onSerial: (byte) => seen.push(byte) });
  machine.run({ timeoutMs: 50 });
  t.equal(Buffer.from(seen).toString(), 'hello');
});

void t.test('memory sizes and vCPU counts that cannot be are refused', needsKvm, async (t) => {
  using kvm = openKvm();
  const table = keptTable(kvm);
  for (const memoryBytes of [0, 4096, 4095 * 1024 + 1, 2 ** 32, -4096, Number.NaN])
    t.throws(() => create(kvm, table, { memoryBytes }), { code: 'bad-memory-size', exitCode: 2 });
  const many = (count: number) => {
    const vcpus = Array.from({ length: count }, (_, index) => ({ index, apicId: index, cpuid: table }));
    return { ...identityOf(table), vcpus };
  };
  t.match(Machine.create(kvm, many(17), { nameOf: noNames }), {
    kind: 'refused',
    reasons: [{ code: 'too-many-vcpus', layer: 'monitor', message: '17 vCPUs: this monitor runs at most 16' }],
  });
  const uniprocessor = injectFaults(kvm, { lacks: ['KVM_CAP_MAX_VCPUS'] });
  t.match(Machine.create(uniprocessor, many(2), { nameOf: noNames }), {
    kind: 'refused',
    reasons: [{ code: 'too-many-vcpus', layer: 'kernel' }],
  });
});
