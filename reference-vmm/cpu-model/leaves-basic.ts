/** Basic CPUID leaves (0 to 0x29) of an expanded CPU, as QEMU answers them (target/i386/cpu.c, cpu_x86_cpuid). */
import { descriptorOf, leaf2, leaf4, NO_DESCRIPTOR, type Registers } from './caches.js';
import type { ExpandedCpu } from './cpu.js';
import {
  coreIds,
  coreOffset,
  dieOffset,
  moduleOffset,
  packageOffset,
  threadsPerDie,
  threadsPerModule,
  threadsPerPackage,
} from './topology.js';

/** A leaf that is not there. */
export const zero = (): Registers => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 });

/** The three vendor registers, in the order EBX, EDX, ECX of leaf 0. */
export function vendorWords(vendor: string): readonly [ebx: number, edx: number, ecx: number] {
  const word = (at: number): number =>
    [0, 1, 2, 3].reduce((value, i) => value | ((vendor.charCodeAt(at + i) || 0) << (8 * i)), 0);
  return [word(0), word(4), word(8)];
}

/** Family, model and stepping as 1.EAX encodes them (SDM vol. 2A, CPUID). */
export function signatureEax(family: number, model: number, stepping: number): number {
  const families = family > 0xf ? 0xf00 | ((family - 0xf) << 20) : family << 8;
  return families | ((model & 0xf) << 4) | ((model >> 4) << 16) | stepping;
}

export const cpuSignature = (cpu: ExpandedCpu): number =>
  signatureEax(cpu.number('family'), cpu.number('model'), cpu.number('stepping'));

export function leaf0(cpu: ExpandedCpu): Registers {
  const [ebx, edx, ecx] = vendorWords(cpu.vendor);
  return { eax: cpu.number('level'), ebx, ecx, edx };
}

/** CLFLUSH line size in EBX[15:8], in units of 8 bytes. */
const CLFLUSH_64 = 8 << 8;
const PDCM = 1 << 15;

export function leaf1(cpu: ExpandedCpu, apicId: number): Registers {
  const { threads } = cpu;
  const pmuOnly = cpu.on('pmu') ? 0 : PDCM;
  return {
    eax: cpuSignature(cpu),
    ebx: (apicId << 24) | CLFLUSH_64 | (threads > 1 ? addressable(cpu, threads) << 16 : 0),
    ecx: cpu.word(1, null, 'ecx') & ~pmuOnly,
    edx: cpu.word(1, null, 'edx'),
  };
}

/** Intel tells the ids set aside for the package's threads; AMD the threads themselves (SDM and APM, CPUID 1.EBX). */
function addressable(cpu: ExpandedCpu, threads: number): number {
  // More than the field holds ran over into the APIC id.
  if (cpu.behaviours.has('thread-count-in-leaf-1')) return threads;
  if (!cpu.isIntel && !cpu.isZhaoxin) return Math.min(threads, 0xff);
  return Math.min(1 << packageOffset(cpu.smp), 0xff);
}

/** 4.EAX[25:14]: highest id within what shares the cache. */
const SHARED_IDS = 0xfff << 14;

/** AMD has neither leaf 2 nor 4 (APM vol. 3, E.3). */
const hasIntelCacheLeaves = (cpu: ExpandedCpu): boolean => !(cpu.on('x-vendor-cpuid-only') && cpu.isAmd);

export function cacheLeaf2(cpu: ExpandedCpu): Registers {
  if (!hasIntelCacheLeaves(cpu)) return zero();
  // Where leaf 4 describes the caches, leaf 2 says only so; and it says nothing by halves.
  const described = !cpu.on('x-consistent-cache') || (cpu.number('min-level') < 4 && everyCacheHasDescriptor(cpu));
  return described ? leaf2(cpu.caches('leaf-2'), cpu.on('l3-cache')) : { eax: 1, ebx: 0, ecx: 0, edx: NO_DESCRIPTOR };
}

const everyCacheHasDescriptor = (cpu: ExpandedCpu): boolean =>
  Object.values(cpu.caches('leaf-2')).every((cache) => cache === null || descriptorOf(cache) !== NO_DESCRIPTOR);

/** Subleaves of leaf 4; the last one is the end mark. */
export function cacheLeaf4(cpu: ExpandedCpu): Registers[] {
  if (!hasIntelCacheLeaves(cpu)) return [zero()];
  const { l1d, l1i, l2, l3 } = cpu.caches('leaf-4');
  const shown = cpu.on('l3-cache') && l3 ? [l1d, l1i, l2, l3] : [l1d, l1i, l2];
  const byCount = cpu.behaviours.has('counts-per-die');
  const cores = byCount ? cpu.smp.cores : coreIds(cpu.smp);
  const leaves = shown.map((cache) => leaf4(cache, cpu.smp, cores, byCount));
  // The L1 caches of old machine types claim to be private to a thread.
  const perThread = (leaf: Registers, i: number): Registers =>
    i < 2 ? { ...leaf, eax: leaf.eax & ~SHARED_IDS } : leaf;
  return [...(cpu.on('x-l1-cache-per-thread') ? leaves : leaves.map(perThread)), zero()];
}

/** MONITOR: nothing of it but that interrupts end MWAIT (QEMU sets both bits for every model). */
export const leaf5 = (): Registers => ({ ...zero(), ecx: 3 });

export const leaf6 = (cpu: ExpandedCpu): Registers => ({ ...zero(), eax: cpu.word(6, null, 'eax') });

export function leaf7(cpu: ExpandedCpu, subleaf: number): Registers {
  if (subleaf === 0) {
    return {
      eax: cpu.number('level-func7'),
      ebx: cpu.word(7, 0, 'ebx'),
      ecx: cpu.word(7, 0, 'ecx'),
      edx: cpu.word(7, 0, 'edx'),
    };
  }
  if (subleaf === 1) {
    return { eax: cpu.word(7, 1, 'eax'), ebx: 0, ecx: cpu.word(7, 1, 'ecx'), edx: cpu.word(7, 1, 'edx') };
  }
  return subleaf === 2 ? { ...zero(), edx: cpu.word(7, 2, 'edx') } : zero();
}

/** The PMU's leaf is the host's; here it is what the dimension `pmu-leaf` gives, else nothing. */
export function leafA(cpu: ExpandedCpu): Registers {
  const given = cpu.text('pmu-leaf');
  if (!cpu.on('pmu') || given === null) return zero();
  const [eax = 0, ebx = 0, ecx = 0, edx = 0] = given.split(':').map(Number);
  return { eax, ebx, ecx, edx };
}

/** Levels of leaves 0xB and 0x1F: what ECX[15:8] calls them, their threads, and the shift to the next level. */
interface Level {
  readonly type: number;
  readonly threads: number;
  readonly shift: number;
}

function topologyLeaf(levels: readonly Level[], apicId: number): Registers[] {
  const leaves = levels.map(({ type, threads, shift }, i) => ({
    eax: shift,
    ebx: threads & 0xffff,
    ecx: i | (type << 8),
    edx: apicId,
  }));
  return [...leaves, { eax: 0, ebx: 0, ecx: levels.length, edx: apicId }];
}

/** Subleaves of leaf 0xB: threads and cores, whatever lies between core and package. */
export function leafB(cpu: ExpandedCpu, apicId: number): Registers[] {
  if (!cpu.on('cpuid-0xb')) return [zero()];
  const { smp } = cpu;
  const levels = [
    { type: 1, threads: smp.threads, shift: coreOffset(smp) },
    { type: 2, threads: cpu.threads, shift: packageOffset(smp) },
  ];
  return topologyLeaf(levels, apicId);
}

/** Subleaves of leaf 0x1F: one for each level that the shape has (SDM vol. 2A: 1 SMT, 2 core, 3 module, 5 die). */
export function leaf1F(cpu: ExpandedCpu, apicId: number): Registers[] {
  const { smp } = cpu;
  const levels: Level[] = [{ type: 1, threads: smp.threads, shift: coreOffset(smp) }];
  const upTo = (next: 'module' | 'die' | 'package'): Pick<Level, 'threads' | 'shift'> =>
    ({
      module: { threads: threadsPerModule(smp), shift: moduleOffset(smp) },
      die: { threads: threadsPerDie(smp), shift: dieOffset(smp) },
      package: { threads: threadsPerPackage(smp), shift: packageOffset(smp) },
    })[next];
  const afterModule = smp.dies > 1 ? 'die' : 'package';
  levels.push({ type: 2, ...upTo(smp.modules > 1 ? 'module' : afterModule) });
  if (smp.modules > 1) levels.push({ type: 3, ...upTo(afterModule) });
  if (smp.dies > 1) levels.push({ type: 5, ...upTo('package') });
  return topologyLeaf(levels, apicId);
}

/** SGX is the host's: nothing of it stands here but that an enclave may use x87 and SSE. */
export const leaf12 = (cpu: ExpandedCpu): Registers[] => [
  zero(),
  cpu.on('sgx') && cpu.accelerator === 'kvm' ? { ...zero(), ecx: 3 } : zero(),
  zero(),
];

/** Processor trace: what QEMU requires of the host and shows (QEMU, INTEL_PT_*; SDM vol. 3C, 33.3.1). */
export function leaf14(cpu: ExpandedCpu): Registers[] {
  if (!cpu.on('intel-pt')) return [zero()];
  return [
    { eax: 1, ebx: 0xf, ecx: (0x7 | cpu.word(0x14, 0, 'ecx')) >>> 0, edx: 0 },
    { eax: 0x0249_0002, ebx: 0x003f_1fff, ecx: 0, edx: 0 },
  ];
}

/** AMX tiles: palette 1 (SDM vol. 1, 18.2). */
export function leaf1D(cpu: ExpandedCpu): Registers[] {
  if (!cpu.on('amx-tile')) return [zero()];
  return [
    { ...zero(), eax: 1 },
    { eax: 0x0400_2000, ebx: 0x0008_0040, ecx: 0x10, edx: 0 },
  ];
}

/** AMX matrix unit. Under KVM its subleaf 1 is the host's word, so it is not shown; TCG shows the features that were forced. */
export function leaf1E(cpu: ExpandedCpu): Registers[] {
  if (!cpu.on('amx-tile')) return [zero()];
  const first = { ...zero(), ebx: 0x4010 };
  return cpu.accelerator === 'tcg' ? [first, { ...zero(), eax: cpu.word(0x1e, 1, 'eax') }] : [first];
}

/** AVX10: version and vector lengths. */
export function leaf24(cpu: ExpandedCpu): Registers[] {
  if (!cpu.on('avx10')) return [zero()];
  // The release without subleaf 1, which came with version 2, showed the host's version where AVX10 was forced: none.
  const early = cpu.behaviours.has('forced-avx10-version');
  const version = early && cpu.on('x-force-features') ? 0 : cpu.number('avx10-version');
  const last = early || version < 2 ? 0 : 1;
  const first = { eax: last, ebx: cpu.word(0x24, 0, 'ebx') | version, ecx: 0, edx: 0 };
  return last ? [first, { ...zero(), ecx: cpu.word(0x24, 1, 'ecx') }] : [first];
}

export const leaf29 = (cpu: ExpandedCpu): Registers => ({ ...zero(), ebx: cpu.word(0x29, null, 'ebx') });
