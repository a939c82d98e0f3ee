/** What each format means, on short texts of its own form. */
import t from 'tap';
import { CpuidTable } from '../../corpora/cpuid.js';
import { compare, convert } from './convert.js';
import type { CpuDump } from './dump.js';
import { parse, recognize, write } from './formats.js';
import { libvirtNames, qemuNameOf } from './libvirt-names.js';

const names = libvirtNames();
const row = (dump: CpuDump, leaf: number, subleaf: number | null = null): unknown =>
  dump.cpus[0]!.cpuid.get(leaf, subleaf);
const lossesOf = (format: string, dump: CpuDump): string => write(format, dump).losses.join('\n');

void t.test('aida64: CPUs, unnumbered subleaves, notes, failed and repeated MSRs', async (t) => {
  const text = `------[ Versions ]------

CPUID Manufacturer : GenuineIntel

------[ Logical CPU #1 ]------

allcpu: Package 0 / Core 0 / Thread 1: Valid, Virtual

CPUID 00000000: 00000016-756E6547-6C65746E-49656E69 [GenuineIntel]
CPUID 00000004: 3C004121-01C0003F-0000003F-00000000
CPUID 00000004: 3C004122-01C0003F-0000003F-00000000
CPUID 0000000D: 00000100-00000240-00000000-00000000 [SL 02] [AVX]

------[ MSR Registers ]------

MSR 0000001B: 0000-0000-FEE0-0900
MSR 00000049: < FAILED >
MSR 00000198: 0000-0000-0000-0001
MSR 00000198: 0000-0000-0000-0002
`;
  const { dump, losses } = parse('aida64', text);
  t.strictSame(
    dump.cpus.map(({ index, cpuid }) => [index, cpuid.size]),
    [[1, 4]],
    'MSRs that name no CPU are those of the first',
  );
  t.match(row(dump, 4, 1), { eax: 0x3c004122 });
  t.match(row(dump, 0xd, 2), { ebx: 0x240 });
  t.match(dump.cpus[0]!.msrs, [
    { index: 0x1b, value: 0xfee00900n },
    { index: 0x49, fault: '#GP' },
    { index: 0x198, value: 1n },
  ]);
  t.strictSame(losses, ['read more than once, only the first kept: MSR 0x198']);
});

void t.test('aida64: subleaves are hexadecimal, as AMX and LWP show', async (t) => {
  const text = `CPUID 0000000D: 000602E7-00002B00-00002B00-40000000 [SL 00] [x87]
CPUID 0000000D: 00000008-00000000-00000001-00000000 [SL 0A]
CPUID 0000000D: 00000040-00000AC0-00000002-00000000 [SL 11]
CPUID 0000000D: 00000080-00000340-00000000-00000000 [SL 3E]
CPUID 0000000D: 00000080-00000340-00000000-00000000 [SL 3E]
`;
  const { dump } = parse('aida64', text);
  t.strictSame(
    dump.cpus[0]!.cpuid.rows.map(({ subleaf }) => subleaf),
    [0, 10, 17, 62],
  );
  t.match(write('aida64', dump).text, /00000040-00000AC0-00000002-00000000 \[SL 11\]/);
});

void t.test('aida64: old programs count from 1, part with tabs and blanks, and number no subleaves', async (t) => {
  const text = `CPUID Registers (CPU #1):
CPUID 00000000  \t0000000D-756E6547-6C65746E-49656E69
CPUID 0000000D  \t00000207-00000340-00000988-00000000
CPUID 0000000D  \t0000000F-00000350-00001800-00000000
CPUID 0000000D  \t00000100-00000240-00000000-00000000
CPUID 0000000D  \t00000008-00000980-00000000-00000000
CPUID 0000000D  \t00000010-00000000-00000001-00000000

CPUID Registers (CPU #2 Virtual):
CPUID 00000000 :0000000D-756E6547-6C65746E-49656E69
CPUID 0000000D : 00000007 00000240 00000340 00000000
CPUID 0000000D : 00000100 00000240 00000000 00000000
`;
  const { dump } = parse('aida64', text);
  t.equal(recognize(text).name, 'aida64');
  t.strictSame(
    dump.cpus.map(({ index, cpuid }) => [index, cpuid.rows.map(({ subleaf }) => subleaf)]),
    [
      [0, [null, 0, 1, 2, 9, 11]],
      [1, [null, 0, 2]],
    ],
    'leaf D: its flags only where they are, each component at its bit',
  );
});

void t.test('aida64: without headers, leaf 0 begins a CPU', async (t) => {
  const one =
    'CPUID 00000000: 00000001-68747541-444D4163-69746E65\nCPUID 00000001: 00000612-00000000-00000000-0081F9FF\n';
  const { dump } = parse('aida64', one + one);
  t.strictSame(
    dump.cpus.map(({ index, cpuid }) => [index, cpuid.size]),
    [
      [0, 2],
      [1, 2],
    ],
  );
});

void t.test('aida64: with headers, a row that stands twice begins no CPU', async (t) => {
  const rows =
    'CPUID 00000000: 00000001-68747541-444D4163-69746E65\nCPUID 00000000: 00000001-68747541-444D4163-69746E65\n';
  const { dump } = parse('aida64', [0, 1].map((cpu) => `------[ Logical CPU #${cpu} ]------\n\n${rows}`).join('\n'));
  t.strictSame(
    dump.cpus.map(({ index, cpuid }) => [index, cpuid.size]),
    [
      [0, 1],
      [1, 1],
    ],
  );
});

void t.test('kcpuid-raw: subleaves in decimal', async (t) => {
  const { dump } = parse(
    'kcpuid-raw',
    '0x0000000d: subleafs:\n  0: EAX=0x7, EBX=0x0, ECX=0x0, EDX=0x0\n 12: EAX=0x18, EBX=0x0, ECX=0x1, EDX=0x0\n',
  );
  t.match(row(dump, 0xd, 12), { eax: 0x18, ecx: 1 });
});

void t.test('libvirt-cpudata: an MSR has its halves, a register that is not there is 0', async (t) => {
  const { dump } = parse(
    'libvirt-cpudata',
    `<!-- a CPU -->\n<cpudata arch="x86"><cpuid eax_in="0x7" ebx="0x8"/><msr index='0x10a' edx='0x1' eax='0x2'/></cpudata>`,
  );
  t.match(row(dump, 7, 0), { eax: 0, ebx: 8 });
  t.match(dump.cpus[0]!.msrs, [{ index: 0x10a, value: 0x1_0000_0002n }]);
});

const TEMPLATE = `{"cpuid_modifiers": [{"leaf": "0x7", "subleaf": "0b0", "flags": 1, "modifiers": [{"register": "ebx", "bitmap": "0b01_x1"}]}],
 "msr_modifiers": [{"addr": "0x10a", "bitmap": "0bx1"}]}`;

void t.test(
  'firecracker-template: x and what is not written stay open, flags tell whether a leaf has subleaves',
  async (t) => {
    const { dump } = parse('firecracker-template', TEMPLATE);
    t.strictSame(dump.cpus[0]!.cpuid, new CpuidTable([{ leaf: 7, subleaf: 0, eax: 0, ebx: 0b0101, ecx: 0, edx: 0 }]));
    t.equal(dump.cpus[0]!.mask?.value(7, 0, 'ebx'), 0b1101);
    t.strictSame(dump.cpus[0]!.msrs, [{ index: 0x10a, value: 1n, mask: 1n }]);
    const unflagged = parse('firecracker-template', TEMPLATE.replace('"flags": 1', '"flags": 0')).dump;
    t.equal(unflagged.cpus[0]!.cpuid.rows[0]!.subleaf, null);
  },
);

void t.test('firecracker-msr-csv: rows beyond 32 bits are said to be left out', async (t) => {
  const { dump, losses } = parse('firecracker-msr-csv', 'MSR_ADDR,VALUE\n0x10a,0xc02a0eb\n0x400000000,0x0\n');
  t.strictSame(dump.cpus[0]!.msrs, [{ index: 0x10a, value: 0xc02a0ebn, mask: 2n ** 64n - 1n }]);
  t.match(losses, [/more than 32 bits: left out 0x400000000/]);
});

const profile = (start: unknown, end: unknown): string =>
  JSON.stringify({
    hypervisor: 'Kvm',
    cpu_vendor: 'Intel',
    adjustments: [
      [
        { leaf: '0x00000004', sub_leaf: { start, end }, register: 'EAX' },
        { replacements: '0x00000001', mask: '0xffffc3ff' },
      ],
    ],
  });

void t.test('cloud-hypervisor-profile: what the mask keeps is the host’s, unless it is replaced', async (t) => {
  const { dump } = parse('cloud-hypervisor-profile', profile(0, 0));
  t.equal(dump.cpus[0]!.cpuid.value(4, 0, 'eax'), 1);
  t.equal(dump.cpus[0]!.mask?.value(4, 0, 'eax'), 0x3c01);
  t.equal(dump.cpus[0]!.mask?.value(4, 0, 'ecx'), 0xffffffff, 'a register that is not listed becomes 0');
  t.strictSame(
    parse('cloud-hypervisor-profile', profile('0x1', '0x2')).dump.cpus[0]!.cpuid.rows.map(({ subleaf }) => subleaf),
    [1, 2],
  );
  const endless = parse('cloud-hypervisor-profile', profile(5, 0xffffffff));
  t.match(endless.losses, [/without an end, kept up to 63: 4\.5/]);
  t.strictSame([endless.dump.cpus[0]!.cpuid.rows.at(-1)?.subleaf, endless.dump.cpus[0]!.cpuid.size], [63, 59]);
  const { adjustments, ...head } = JSON.parse(profile(0, 0)) as { adjustments: [object, object][] };
  const [place, change] = adjustments[0]!;
  const twice = (other: object): string[] => [
    ...parse(
      'cloud-hypervisor-profile',
      JSON.stringify({
        ...head,
        adjustments: [
          [place, change],
          [place, other],
        ],
      }),
    ).losses,
  ];
  t.strictSame(twice(change), [], 'as its own profiles have 23.4 EBX');
  t.match(twice({ replacements: '0x2', mask: '0x0' }), [/adjusted twice, only the first kept: 4\.0\.EAX/]);
});

// skylake.json (6fa4068fd7) has 7.1 EAX, EBX and EDX, and leaf 2 as the host has it; cpu_profile.rs, adjust_cpuid_entries, makes 7.1 ECX 0.
const SKYLAKE = `{"hypervisor": "Kvm", "cpu_vendor": "Intel", "adjustments": [
  [{"leaf": "0x00000002", "sub_leaf": {"start": 0, "end": 0}, "register": "EAX"}, {"replacements": "0x00000000", "mask": "0xffffffff"}],
  [{"leaf": "0x00000007", "sub_leaf": {"start": 1, "end": 1}, "register": "EAX"}, {"replacements": "0x00000000", "mask": "0x00000000"}]]}`;

void t.test(
  'cloud-hypervisor-profile: a register as the host has it differs from one that is not listed',
  async (t) => {
    const less = SKYLAKE.replace(/^ {2}\[\{"leaf": "0x00000002".*\n/m, '');
    const { differences } = compare({ text: SKYLAKE }, { text: less }, names, qemuNameOf).diff;
    t.match(differences, [{ kind: 'register', field: { leaf: 2, register: 'eax' } }]);
    t.equal(differences.length, 1);
    t.equal(compare({ text: SKYLAKE }, { text: SKYLAKE }, names, qemuNameOf).diff.differences.length, 0);
    const shown = SKYLAKE.replace(
      '"EAX"}, {"replacements": "0x00000000", "mask": "0x00000000"',
      '"ECX"}, {"replacements": "0x00000001", "mask": "0x0"',
    );
    t.match(compare({ text: SKYLAKE }, { text: shown }, names, qemuNameOf).diff.differences, [
      { kind: 'register', field: { leaf: 7, subleaf: 1, register: 'ecx' }, bits: [{ bit: 0, a: 0, b: 1 }] },
    ]);
  },
);

void t.test('cloud-hypervisor-profile: MSRs come from and go to a file of their own', async (t) => {
  const text = JSON.stringify({
    cpu_vendor: 'Intel',
    hypervisor_type: 'Kvm',
    adjustments: [['0x10a', { mask: '0x4000000000000000', replacements: '0x000000000c00004c' }]],
    permitted_msrs: ['0x10', '0x10a'],
  });
  const { dump } = parse('cloud-hypervisor-profile', text);
  t.match(dump.cpus[0]!.msrs, [{ index: 0x10a, value: 0xc00004cn, mask: 0xbfffffffffffffffn }]);
  t.equal(dump.facts.permitted_msrs, '0x10 0x10a');
  t.strictSame(JSON.parse(write('cloud-hypervisor-profile', dump).text), JSON.parse(text));
  const fewer = compare({ text }, { text: text.replace('"0x10",', '') }, names, qemuNameOf).diff;
  t.match(fewer.differences, [{ what: 'permitted_msrs 0x10', a: 'listed', b: null }], 'what is not permitted faults');
});

const BARE_TEMPLATE = '{"cpuid_modifiers": [], "msr_modifiers": [{"addr": "0x10a", "bitmap": "xx1"}]}';

void t.test('firecracker-template: a bitmap needs no 0b; two differ by kvm_capabilities', async (t) => {
  t.match(parse('firecracker-template', BARE_TEMPLATE).dump.cpus[0]!.msrs, [{ index: 0x10a, value: 1n, mask: 1n }]);
  const more = BARE_TEMPLATE.replace('{', '{"kvm_capabilities": ["!56"], ');
  const { differences } = compare({ text: BARE_TEMPLATE }, { text: more }, names, qemuNameOf).diff;
  t.strictSame(differences, [{ kind: 'name', what: 'kvm_capabilities !56', a: null, b: 'listed' }]);
});

// fingerprint_AMD_MILAN_6.18host.json (4c11bb5ade) has 0x9e and no 0xc0000080; the CSV of the same host has 0xc0000080 and no 0x4b564d01.
const FINGERPRINT = (...addresses: readonly string[]): string =>
  JSON.stringify({
    ...{ firecracker_version: '1.16.0-dev', kernel_version: '6.18.30-61.116.amzn2023.x86_64' },
    ...{ microcode_version: '0xa0011de', bios_version: '1.0', bios_revision: '1.4' },
    guest_cpu_config: {
      ...{ kvm_capabilities: [], cpuid_modifiers: [] },
      msr_modifiers: addresses.map((addr) => ({ addr, bitmap: `0b${'0'.repeat(64)}` })),
    },
  });

void t.test(
  'what a list of MSRs leaves out on purpose does not fault, and only its like is held against it',
  async (t) => {
    const found = (a: string, b: string): readonly unknown[] =>
      compare({ text: a }, { text: b }, names, qemuNameOf).diff.differences;
    const csv = 'MSR_ADDR,VALUE\n0x9e,0x0\n0xc0000080,0xd01\n';
    t.strictSame(found(FINGERPRINT('0x9e', '0x4b564d01'), csv), [], 'neither says that the other’s MSR faults');
    t.match(
      found(FINGERPRINT('0x9e', '0x1db'), csv),
      [{ kind: 'msr', index: 0x1db, b: null }],
      'the guest tried this one',
    );
    t.match(found(FINGERPRINT('0x9e', '0x1db'), FINGERPRINT('0x9e')), [{ kind: 'msr', index: 0x1db, b: null }]);
  },
);

void t.test(
  'json: a resolved identity is a table that KVM answers from, a capture gives what KVM supports',
  async (t) => {
    const cpuid = [{ leaf: '0x00000000', subleaf: null, eax: '0x1', ebx: '0x0', ecx: '0x0', edx: '0x0' }];
    const resolved = {
      schema: 'guest-abi/resolve/1',
      pair: 'pc/Nehalem',
      cpuModel: 'Nehalem',
      vcpu: 2,
      cpuid,
      msrs: [{ index: '0x10', value: '0x1' }],
    };
    const { dump } = parse('json', JSON.stringify(resolved));
    t.match(dump, {
      cpus: [{ index: 2 }],
      absent: { row: 'answered', msr: 'none' },
      named: { model: 'Nehalem' },
      facts: { pair: 'pc/Nehalem' },
    });
    const capture = { schema: 'guest-abi/host/1', supportedCpuid: cpuid, hostCpuid: [], featureMsrs: [] };
    t.match(parse('json', JSON.stringify(capture)), {
      dump: { cpus: [{ index: 0 }] },
      losses: [/only supportedCpuid/],
    });
    const vcpu = (index: number, eax: string): object => ({
      index,
      cpuid: [{ ...cpuid[0], eax }],
      msrs: [
        { index: '0x8b', fault: '#GP' },
        { index: '0x10', value: eax },
        { index: '0x10', value: '0x3' },
      ],
    });
    const probed = {
      schema: 'guest-abi/probe/1',
      pair: 'pc/Nehalem',
      vcpus: [vcpu(0, '0x1'), vcpu(1, '0x2'), vcpu(0, '0x3')],
    };
    const probe = parse('json', JSON.stringify(probed));
    t.match(probe, {
      dump: { cpus: [{ index: 0 }, { index: 1 }] },
      losses: [/only the last dump/, 'read more than once, only the first kept: MSR 0x10, 0x10'],
    });
    t.equal(probe.dump.cpus[0]!.cpuid.value(0, null, 'eax'), 3);
  },
);

void t.test('what a format cannot hold is said', async (t) => {
  const template = parse('firecracker-template', TEMPLATE).dump;
  t.match(lossesOf('cpuid-raw', template), /no open bits: written as 0 in 7\.0/);
  t.match(lossesOf('cpuid-raw', template), /no MSRs: left out 0x10a/);
  t.match(lossesOf('feature-words', template), /whole registers only: left out 7\.0\.EBX/);
  t.match(lossesOf('firecracker-msr-csv', template), /no CPUID: left out 7\.0/);
  const two = parse('cpuid-raw', 'CPU 0:\n   0x00000002 0x01: eax=0x1 ebx=0x0 ecx=0x0 edx=0x0\nCPU 3:\n').dump;
  t.match(lossesOf('libvirt-cpudata', two), /one CPU only: left out CPU 3/);
  t.match(lossesOf('libcpuid-raw', two), /no array for it: left out 2\.1/);
  t.match(lossesOf('firecracker-fingerprint', two), /written as "unknown": firecracker_version/);
});

const DOMAIN = `<domain type='kvm'><cpu mode='custom' match='exact'><model fallback='forbid'>Nehalem</model><topology sockets='1'/>
  <feature policy='require' name='lahf_lm'/><feature policy='disable' name='vmx'/><feature policy='optional' name='aes'/><feature policy='require' name='nonesuch'/></cpu></domain>`;

void t.test('libvirt-domain: names become bits, and what cannot is said', async (t) => {
  const { text, losses } = convert({ text: DOMAIN }, 'firecracker-template', names);
  const { cpus } = parse('firecracker-template', text).dump;
  t.equal(cpus[0]!.cpuid.value(0x80000001, null, 'ecx'), 1, 'lahf_lm');
  t.strictSame(
    [cpus[0]!.mask?.value(1, null, 'ecx'), cpus[0]!.cpuid.value(1, null, 'ecx')],
    [1 << 5, 0],
    'vmx is pinned to 0, aes is open',
  );
  t.match(losses, ['left out <topology> of <cpu>', /model Nehalem has of itself/, 'no bit is known for nonesuch']);
});

// Attributes and elements of libvirt 11.3's qemuxmlconfdata: cpu-minimum1, cpu-host-model-vendor, kvm-features, hyperv.
void t.test('libvirt-domain: what gives a guest another CPU and is not read is said', async (t) => {
  const { losses } = parse(
    'libvirt-domain',
    `<domain><features><kvm><hidden state='on'/></kvm></features><clock offset='utc'/>
     <cpu match='minimum' migratable='off'><model vendor_id='Libvirt QEMU'>qemu64</model></cpu></domain>`,
  );
  t.match(losses, [
    /match='minimum'/,
    "left out migratable='off' of <cpu>",
    /vendor_id='Libvirt QEMU' of <model>/,
    /only <cpu> is read: left out <features>, /,
  ]);
});

// qemu_9.2.0 and qemu_10.0.0-q35 of libvirt 11.3's domaincapsdata have such lines.
const OFFERS = (canonical: string): string =>
  `<domainCapabilities><cpu><mode name='host-model' supported='yes'><model fallback='forbid'>EPYC</model><maxphysaddr mode='passthrough' limit='64'/></mode>
   <mode name='custom' supported='yes'><model usable='yes' deprecated='yes' vendor='Intel'${canonical}>Haswell</model></mode></cpu></domainCapabilities>`;

void t.test('libvirt-domcapabilities: a name that stands for another version differs', async (t) => {
  const found = (a: string, b: string) => compare({ text: OFFERS(a) }, { text: OFFERS(b) }, names, qemuNameOf).diff;
  t.match(found(" canonical='Haswell-v4'", " canonical='Haswell-v1'").differences, [
    { what: 'canonical Haswell', a: 'Haswell-v4', b: 'Haswell-v1' },
  ]);
  t.match(found(" canonical='Haswell-v4'", ''), { differences: [], open: 1 }, 'older libvirts do not say');
  t.strictSame(parse('libvirt-domcapabilities', OFFERS('')).losses, [
    'left out <maxphysaddr> of host-model',
    'left out deprecated of <model>',
  ]);
});

void t.test('bits become names beside a model: what is on, and what of the model is off', async (t) => {
  const cpuid = [
    { leaf: '0x1', subleaf: null, eax: '0x0', ebx: '0x0', ecx: '0x02000000', edx: '0x0' },
    { leaf: '0x80000001', subleaf: null, eax: '0x0', ebx: '0x0', ecx: '0x0', edx: '0x0' },
    { leaf: '0x40000001', subleaf: null, eax: '0x1', ebx: '0x0', ecx: '0x0', edx: '0x0' },
  ];
  const text = JSON.stringify({
    schema: 'guest-abi/resolve/1',
    pair: 'pc/Nehalem',
    cpuModel: 'Nehalem',
    vcpu: 0,
    cpuid,
    msrs: [],
  });
  const converted = convert({ text }, 'libvirt-domain', names);
  const { named } = parse('libvirt-domain', converted.text).dump;
  const policy = (name: string): string | undefined => named?.features.find((feature) => feature.name === name)?.policy;
  t.strictSame(
    [named?.model, policy('aes'), policy('lahf_lm'), policy('avx'), policy('kvmclock')],
    ['Nehalem', 'require', 'disable', undefined, undefined],
  );
  t.match(converted.losses, [/bits without a name are left out, in 40000001/]);
  t.throws(
    () => convert({ text: 'CPU:\n   0x00000001 0x00: eax=0x0 ebx=0x0 ecx=0x1 edx=0x0\n' }, 'libvirt-domain', names),
    { code: 'no-model' },
  );
  t.throws(() => convert({ text: 'MSR_ADDR,VALUE\n' }, 'libvirt-domcapabilities', names), { code: 'no-names' });
});

void t.test('names are compared with bits by their bits', async (t) => {
  const raw =
    'CPU:\n   0x00000001 0x00: eax=0x0 ebx=0x0 ecx=0x20 edx=0x0\n   0x80000001 0x00: eax=0x0 ebx=0x0 ecx=0x1 edx=0x0\n';
  const { diff, losses } = compare({ text: DOMAIN }, { text: raw }, names, qemuNameOf);
  t.match(diff, { differences: [{ kind: 'register', bits: [{ bit: 5, a: 0, b: 1, name: 'vmx' }] }], compared: 2 });
  t.ok(losses.every((loss) => loss.startsWith('A: ')));
});

void t.test('libvirt’s own names, also of bits that QEMU does not name, have their bits', async (t) => {
  for (const [name, leaf, bit] of [
    ['lahf_lm', 0x80000001, 0],
    ['osxsave', 1, 27],
    ['pclmuldq', 1, 1],
  ] as const)
    t.match(names.bitsOf(name), [{ place: { leaf, register: 'ecx' }, bit }], name);
});
