import t from 'tap';
import { parse, recognize } from './formats.js';

const FIRECRACKER = (bitmap: string): string => `{
  "cpuid_modifiers": [
    { "leaf": "0x1", "subleaf": "0x0", "flags": 0, "modifiers": [{ "register": "eax", "bitmap": "${bitmap}" }] }
  ]
}`;

const literally = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** Each: a format, a text, and where and what the error must say. */
const CASES: readonly (readonly [format: string, text: string, says: string])[] = [
  [
    'json',
    '{\n "schema": "guest-abi/dump/2"\n}',
    'line 2, column 12: expected one of guest-abi/dump/1, guest-abi/probe/1, guest-abi/resolve/1, guest-abi/host/1',
  ],
  [
    'json',
    '{"schema": "guest-abi/resolve/1",\n "vcpu": -1}',
    'line 2, column 10: expected a whole number from 0 to 4294967295',
  ],
  [
    'cpuid-raw',
    'CPU:\n   0x00000001 0x00: eax=0x000206a1 ebx=0x0000z800 ecx=0x0 edx=0x0',
    "line 2, column 42: expected at most 8 hex digits, found '0000z800'",
  ],
  [
    'cpuid-raw',
    'CPU:\n   0x00000001 0x00: eax=0x123456789',
    "line 2, column 27: expected at most 8 hex digits, found '123456789'",
  ],
  [
    'cpuid-raw',
    '   0x00000001 0x00: eax=0x0 ebx=0x0 ecx=0x0 edx=0x0',
    "line 1, column 1: expected 'CPU:' or 'CPU 0:', found '   '",
  ],
  ['cpuid-raw', 'CPU 0:\nCPU 0:\n', 'line 2, column 1: CPU 0 stands twice'],
  ['cpuid-raw', '', "line 1, column 1: expected 'CPU:' or 'CPU 0:', found the end of the file"],
  ['kcpuid-raw', '0x00000004: subleafs:\n  x: EAX=0x0', "line 2, column 3: expected a decimal subleaf, found 'x:'"],
  [
    'kcpuid-raw',
    '  0: EAX=0x0, EBX=0x0, ECX=0x0, EDX=0x0',
    "line 1, column 1: expected a leaf such as '0x00000004: subleafs:' before its subleaves, found '  '",
  ],
  [
    'aida64',
    'CPUID 00000004: FC000121-01C0003F-0000003F',
    "line 1, column 43: expected '-', found the end of the file",
  ],
  [
    'aida64',
    'CPUID 0000000D: 00000010-00000000-00000001-00000000 [SL 0X]',
    "line 1, column 53: expected a hex subleaf such as [SL 0A], found '[SL'",
  ],
  [
    'aida64',
    'CPUID 0000000D: 00000003-00000240-00000240-00000000\nCPUID 0000000D: 00000100-00000240-00000000-00000000',
    'line 2, column 1: which subleaf of leaf 0xd this row is cannot be told',
  ],
  [
    'aida64',
    'CPUID 00000001: 00000612-00000000-00000000-0081F9FF\nCPUID 00000001: 00000613-00000000-00000000-0081F9FF',
    'line 2, column 1: CPUID 1 stands twice for CPU 0',
  ],
  [
    'aida64',
    'MSR 0000001B: 0000-0000-FEE0\n',
    'line 1, column 15: expected a value such as 0000-0000-FEE0-0900, or < FAILED >',
  ],
  [
    'aida64',
    'CPlD 00000001: 00000010-00000000-00000001-00000000',
    "line 1, column 1: expected a row that begins with 'CPUID ' or 'MSR ' and 8 hex digits",
  ],
  [
    'aida64',
    'CPUID 00000001: 00000612-00000000-00000000-0081F9FF\nMSR 0000001G: 0000-0000-FEE0-0900',
    "line 2, column 1: expected a row that begins with 'CPUID ' or 'MSR ' and 8 hex digits",
  ],
  [
    'libcpuid-raw',
    'version=0.6.2\nbasic_cpuid[32]=00000000 00000000 00000000 00000000',
    'line 2, column 1: basic_cpuid has indices 0 to 31',
  ],
  ['libcpuid-raw', 'intel_fn5[0]=00000000 00000000 00000000 00000000', "line 1, column 1: unknown array 'intel_fn5'"],
  [
    'libvirt-cpudata',
    "<cpudata arch='x86'>\n  <cpuid eax_in='0x1' eax='1'/>\n</cpudata>",
    'line 2, column 28: eax of <cpuid>: expected 0x and at most 8 hex digits',
  ],
  [
    'libvirt-cpudata',
    "<cpudata arch='x86'>\n  <cpuid/></cpudata>",
    'line 2, column 3: <cpuid> has no attribute eax_in',
  ],
  ['libvirt-cpudata', "<cpudata arch='arm'/>", 'line 1, column 16: arch of <cpudata>: expected one of x86'],
  ['libvirt-cpudata', "<cpudata arch='x86'>\n</cpudat>", 'line 2, column 3: </cpudat> ends <cpudata>'],
  [
    'libvirt-domain',
    "<cpu>\n  <feature policy='maybe' name='aes'/>\n</cpu>",
    'line 2, column 20: policy of <feature>: expected one of force, require, optional, disable, forbid',
  ],
  [
    'libvirt-domain',
    "<domain><os>\n<type arch='aarch64'>hvm</type></os><cpu mode='host-passthrough'/></domain>",
    'line 2, column 1: a CPU of aarch64; only x86_64 and i686 are read',
  ],
  [
    'libvirt-domcapabilities',
    '<domainCapabilities>\n<arch>s390x</arch><cpu/></domainCapabilities>',
    'line 2, column 1: a CPU of s390x; only x86_64 and i686 are read',
  ],
  ['libvirt-domain', '<domain>\n</domain>', 'line 1, column 1: this domain has no <cpu>'],
  [
    'libvirt-domcapabilities',
    "<domainCapabilities><cpu><mode name='custom'>\n<model usable='perhaps'>a</model></mode></cpu></domainCapabilities>",
    'line 2, column 16: usable of <model>: expected one of yes, no, unknown',
  ],
  ['firecracker-template', FIRECRACKER('0b1y0'), 'line 3, column 97: expected a bitmap such as "0b1x0"'],
  ['firecracker-template', FIRECRACKER(`0b${'1'.repeat(33)}`), 'line 3, column 97: expected at most 32 bits, found 33'],
  ['firecracker-template', '{"reg_modifiers": []}', 'line 1, column 19: registers of an Arm CPU; only x86 is read'],
  ['firecracker-fingerprint', '{\n "guest_cpu_config": {},\n "bios": ""}', 'line 3, column 10: unknown key "bios"'],
  [
    'firecracker-msr-csv',
    'MSR_ADDR,VALUE\n0x10a,0xc02a0eb\n0x10a,0x0',
    'line 3, column 1: MSR 0x10a stands twice for CPU 0',
  ],
  [
    'firecracker-msr-csv',
    'MSR_ADDR,VALUE\n266,0',
    "line 2, column 1: expected an MSR such as 0x10a and a comma, found '266,0'",
  ],
  [
    'feature-words',
    '[{"cpuid-register": "EAX", "cpuid-input-eax": 1, "features": 4294967296}]',
    'line 1, column 62: expected a whole number from 0 to 4294967295',
  ],
  [
    'cloud-hypervisor-profile',
    '{"hypervisor":"Kvm","cpu_vendor":"Intel","adjustments":[\n[{"leaf":"0x1"}]]}',
    'line 2, column 1: expected a pair of a place and its change',
  ],
];

for (const [format, text, says] of CASES)
  void t.test(`${format}: ${says}`, async (t) => {
    t.throws(() => parse(format, text), {
      code: 'malformed-input',
      exitCode: 2,
      message: new RegExp(`^${format}: ${literally(says)}`),
    });
  });

void t.test('an unknown format is refused with the nearest, an unrecognized text with all', async (t) => {
  t.throws(() => parse('cpuid-rav', ''), {
    code: 'unknown-format',
    nearest: ['cpuid-raw', 'kcpuid-raw', 'libcpuid-raw'],
  });
  t.throws(() => recognize('hello\n'), {
    code: 'unrecognized-format',
    given: 'hello',
    message: /give --from: json, cpuid-raw, /,
  });
});
