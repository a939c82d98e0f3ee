/** Extended CPUID leaves (80000000 and up, C0000000 and up) of an expanded CPU (QEMU target/i386/cpu.c, cpu_x86_cpuid). */
import { InputError } from '../../corpora/errors.js';
import { l1Amd, l2Amd, l3Amd, leaf8000001d, type Registers } from './caches.js';
import type { ExpandedCpu } from './cpu.js';
import { cpuSignature, vendorWords, zero } from './leaves-basic.js';
import { coreOffset, dieOffset, moduleOffset, packageOffset } from './topology.js';

/** Bits of 80000001.EDX that repeat 1.EDX on AMD (APM vol. 3, E.4.2). */
const AMD_ALIASES = 0x0183f3ff;
const SYSCALL = 1 << 11;

/** Machine types from 10.1 on keep AMD's fields off Intel's and Zhaoxin's CPUs. */
const withoutAmdFields = (cpu: ExpandedCpu): boolean =>
  cpu.on('x-vendor-cpuid-only-v2') && (cpu.isIntel || cpu.isZhaoxin);

export function leaf80000000(cpu: ExpandedCpu): Registers {
  const eax = cpu.number('xlevel');
  if (withoutAmdFields(cpu)) return { ...zero(), eax };
  const [ebx, edx, ecx] = vendorWords(cpu.vendor);
  return { eax, ebx, ecx, edx };
}

export function leaf80000001(cpu: ExpandedCpu): Registers {
  const aliases = cpu.isAmd ? cpu.word(1, null, 'edx') & AMD_ALIASES : 0;
  // A guest in protected mode, as the probe is.
  const hidden = cpu.isIntel && cpu.behaviours.has('tcg-syscall-in-long-mode-only') ? SYSCALL : 0;
  return {
    eax: cpuSignature(cpu),
    ebx: 0,
    ecx: cpu.word(0x80000001, null, 'ecx'),
    edx: (cpu.word(0x80000001, null, 'edx') & ~hidden) | aliases,
  };
}

/** The brand string's part in leaves 80000002 to 80000004. */
export function brandLeaf(cpu: ExpandedCpu, part: number): Registers {
  const bytes = Buffer.alloc(48);
  bytes.write(cpu.text('model-id') ?? '', 'latin1');
  const word = (i: number): number => bytes.readUInt32LE(part * 16 + i * 4);
  return { eax: word(0), ebx: word(1), ecx: word(2), edx: word(3) };
}

/** TLB sizes that QEMU shows for every model: L1 fully described as 255 entries, L2 4-way with 512. */
const L1_TLB = 0x01ff01ff;
const L2_TLB = 0x42004200;

export function leaf80000005(cpu: ExpandedCpu): Registers {
  if (cpu.on('x-vendor-cpuid-only-v2') && cpu.isIntel) return zero();
  const { l1d, l1i } = cpu.caches('80000005');
  return { eax: L1_TLB, ebx: L1_TLB, ecx: l1Amd(l1d), edx: l1Amd(l1i) };
}

export function leaf80000006(cpu: ExpandedCpu): Registers {
  if (withoutAmdFields(cpu)) return { ...zero(), ecx: l2Amd(cpu.caches('80000005').l2) };
  const { l2, l3 } = cpu.caches('80000005');
  return { eax: 0, ebx: L2_TLB, ecx: l2Amd(l2), edx: cpu.on('l3-cache') && l3 ? l3Amd(l3) : 0 };
}

export function leaf80000007(cpu: ExpandedCpu): Registers {
  const ebx = cpu.on('x-vendor-cpuid-only-v2') && cpu.isIntel ? 0 : cpu.word(0x80000007, null, 'ebx');
  return { ...zero(), ebx, edx: cpu.word(0x80000007, null, 'edx') };
}

/** What QEMU shows where nothing else is asked for: 40 bits, as early 64-bit AMD CPUs had. */
const DEFAULT_PHYS_BITS = 40;

export function leaf80000008(cpu: ExpandedCpu): Registers {
  const { threads } = cpu;
  const counts = threads > 1 && !withoutAmdFields(cpu) ? (packageOffset(cpu.smp) << 12) | (threads - 1) : 0;
  return { eax: addressSizes(cpu), ebx: cpu.word(0x80000008, null, 'ebx'), ecx: counts, edx: 0 };
}

/** Physical, linear and guest-physical address bits. */
function addressSizes(cpu: ExpandedCpu): number {
  const given = cpu.number('phys-bits');
  if (!cpu.on('lm')) {
    const wide = cpu.on('pse36') || (cpu.on('pae') && !cpu.behaviours.has('phys-bits-by-pse36-only'));
    return wide ? 36 : 32;
  }
  return (given || DEFAULT_PHYS_BITS) | ((cpu.on('la57') ? 57 : 48) << 8) | (guestPhysBits(cpu) << 16);
}

/** QEMU's value for "as the kernel says", which here is none: a named dimension. */
const FROM_KERNEL = 0xffffffff;

function guestPhysBits(cpu: ExpandedCpu): number {
  const bits = cpu.number('guest-phys-bits');
  return bits === FROM_KERNEL ? 0 : bits;
}

/** Throws `InputError` where address bits would be the host's, or are impossible, whether or not their leaf shows. */
export function checkAddressSizes(cpu: ExpandedCpu): void {
  const given = cpu.number('phys-bits');
  const guests = guestPhysBits(cpu);
  if (!cpu.on('lm')) {
    const name = given ? 'phys-bits' : 'guest-phys-bits';
    const value = `${given || guests}`;
    if (given || guests)
      throw new InputError('bad-value', `${name} cannot be set on a CPU without lm`, { given: value });
    return;
  }
  if (cpu.on('host-phys-bits') && !given) {
    throw new InputError('host-dimension', 'host-phys-bits=on follows the host: give phys-bits=N', {
      given: 'host-phys-bits',
    });
  }
  if (given) requireBits('phys-bits', given, 52);
  if (guests) requireBits('guest-phys-bits', guests, given || DEFAULT_PHYS_BITS);
}

function requireBits(name: string, bits: number, limit: number): void {
  if (bits >= 32 && bits <= limit) return;
  throw new InputError('bad-value', `${name}=${bits}: must be 32 to ${limit}`, { given: `${bits}` });
}

/** SVM revision 1 with 16 ASIDs. */
export const leaf8000000A = (cpu: ExpandedCpu): Registers =>
  cpu.on('svm') ? { eax: 1, ebx: 0x10, ecx: 0, edx: cpu.word(0x8000000a, null, 'edx') } : zero();

/** What EDX of leaf 8000001D may hold since machine type 9.1: WBINVD sharing and inclusiveness. */
const TOPOEXT_FEATURES = 3;

/** Subleaves of leaf 8000001D; the last one is the end mark. */
export function leaf8000001D(cpu: ExpandedCpu): Registers[] {
  const { l1d, l1i, l2, l3 } = cpu.caches('8000001d');
  const byCount = cpu.behaviours.has('counts-per-die');
  const leaves = [l1d, l1i, l2, ...(l3 ? [l3] : [])].map((cache) => leaf8000001d(cache, cpu.smp, byCount));
  const kept = cpu.on('x-amd-topoext-features-only') ? TOPOEXT_FEATURES : ~0;
  return [...leaves.map((leaf) => ({ ...leaf, edx: leaf.edx & kept })), zero()];
}

/** APIC id, core and node of one vCPU (APM vol. 3, E.4.17): what its APIC id says of it, where the two are not one. */
export function leaf8000001E(cpu: ExpandedCpu, apicId: number): Registers {
  const { smp } = cpu;
  const core = (apicId & ((1 << moduleOffset(smp)) - 1)) >> coreOffset(smp);
  // The field ends there (QEMU, cpu_x86_cpuid).
  if (core > 0xff) return zero();
  const node = cpu.on('legacy-multi-node')
    ? ((smp.dies - 1) << 8) | ((apicId >> dieOffset(smp)) & 0xff)
    : (apicId >> packageOffset(smp)) & 0xff;
  return { eax: apicId, ebx: ((smp.threads - 1) << 8) | core, ecx: node, edx: 0 };
}

export const leaf80000021 = (cpu: ExpandedCpu): Registers => ({
  eax: cpu.word(0x80000021, null, 'eax'),
  ebx: 0,
  ecx: cpu.word(0x80000021, null, 'ecx'),
  edx: 0,
});

/** AMD's PMU: only with one, like leaf 0xA. */
export const leaf80000022 = (cpu: ExpandedCpu): Registers => ({
  ...zero(),
  eax: cpu.on('pmu') ? cpu.word(0x80000022, null, 'eax') : 0,
});

/** Centaur's and Zhaoxin's range. */
export function leavesC0000000(cpu: ExpandedCpu): Registers[] {
  const level = cpu.number('xlevel2');
  if (level < 0xc0000000) return [];
  const features = { eax: cpuSignature(cpu), ebx: 0, ecx: 0, edx: cpu.word(0xc0000001, null, 'edx') };
  const count = Math.min(level - 0xc0000000, 0xf) + 1;
  return Array.from({ length: count }, (_, i) => (i === 0 ? { ...zero(), eax: level } : i === 1 ? features : zero()));
}
