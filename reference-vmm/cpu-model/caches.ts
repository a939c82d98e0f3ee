/** Encodings of cache descriptions in leaves 2, 4, 80000005, 80000006 and 8000001D. */
import type { CacheInfo, CacheSet } from '../../corpora/definitions.js';
import type { SmpShape } from '../../corpora/identity.js';
import { coreOffset, dieOffset, moduleOffset, packageOffset, threadsPerModule } from './topology.js';

/** The registers of one CPUID answer. */
export interface Registers {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** Leaf 2 says nothing of this cache: see leaf 4 (SDM vol. 2A, CPUID, table of descriptors). */
export const NO_DESCRIPTOR = 0xff;

const TYPE_BITS = { data: 1, instruction: 2, unified: 3 } as const;

/** Descriptors with KiB, ways and line size by type and level (SDM vol. 2A, CPUID leaf 2; the ones that QEMU knows). */
const DESCRIPTORS: Readonly<Record<string, readonly (readonly [number, number, number, number])[]>> = {
  'instruction 1': [
    [0x06, 8, 4, 32],
    [0x08, 16, 4, 32],
    [0x09, 32, 4, 64],
    [0x30, 32, 8, 64],
  ],
  'data 1': [
    [0x0a, 8, 2, 32],
    [0x0c, 16, 4, 32],
    [0x0d, 16, 4, 64],
    [0x0e, 24, 6, 64],
    [0x2c, 32, 8, 64],
    [0x60, 16, 8, 64],
    [0x66, 8, 4, 64],
    [0x67, 16, 4, 64],
    [0x68, 32, 4, 64],
  ],
  'unified 2': [
    [0x1d, 128, 2, 64],
    [0x21, 256, 8, 64],
    [0x24, 1024, 16, 64],
    [0x41, 128, 4, 32],
    [0x42, 256, 4, 32],
    [0x43, 512, 4, 32],
    [0x44, 1024, 4, 32],
    [0x45, 2048, 4, 32],
    [0x48, 3072, 12, 64],
    [0x49, 4096, 16, 64],
    [0x4e, 6144, 24, 64],
    [0x78, 1024, 4, 64],
    [0x7d, 2048, 8, 64],
    [0x7f, 512, 2, 64],
    [0x80, 512, 8, 64],
    [0x82, 256, 8, 32],
    [0x83, 512, 8, 32],
    [0x84, 1024, 8, 32],
    [0x85, 2048, 8, 32],
    [0x86, 512, 4, 64],
    [0x87, 1024, 8, 64],
  ],
  'unified 3': [
    [0x46, 4096, 4, 64],
    [0x47, 8192, 8, 64],
    [0x4a, 6144, 12, 64],
    [0x4b, 8192, 16, 64],
    [0x4c, 12288, 12, 64],
    [0x4d, 16384, 16, 64],
    [0xd0, 512, 4, 64],
    [0xd1, 1024, 4, 64],
    [0xd2, 2048, 4, 64],
    [0xd6, 1024, 8, 64],
    [0xd7, 2048, 8, 64],
    [0xd8, 4096, 8, 64],
    [0xdc, 1536, 12, 64],
    [0xdd, 3072, 12, 64],
    [0xde, 6144, 12, 64],
    [0xe2, 2048, 16, 64],
    [0xe3, 4096, 16, 64],
    [0xe4, 8192, 16, 64],
    [0xea, 12288, 24, 64],
    [0xeb, 18432, 24, 64],
    [0xec, 24576, 24, 64],
  ],
};

/** The leaf-2 descriptor of a cache, or NO_DESCRIPTOR. */
export function descriptorOf(cache: CacheInfo): number {
  const known = DESCRIPTORS[`${cache.type} ${cache.level}`]?.find(
    ([, size, ways, line]) => size === cache.size && ways === cache.associativity && line === cache.lineSize,
  );
  return known?.[0] ?? NO_DESCRIPTOR;
}

/** Leaf 2, EDX: L1 data, L1 instruction, L2; ECX: L3 where shown. */
export function leaf2(caches: CacheSet, l3: boolean): Registers {
  const [l1d, l1i, l2] = [caches.l1d, caches.l1i, caches.l2].map(descriptorOf) as [number, number, number];
  return { eax: 1, ebx: 0, ecx: l3 && caches.l3 ? descriptorOf(caches.l3) : 0, edx: (l1d << 16) | (l1i << 8) | l2 };
}

/** Highest id within what shares a cache. */
function sharedIds(cache: CacheInfo, smp: SmpShape): number {
  const offset = { core: coreOffset, module: moduleOffset, die: dieOffset, socket: packageOffset }[cache.share];
  return (1 << offset(smp)) - 1;
}

function parameters(cache: CacheInfo): Registers {
  return {
    eax: TYPE_BITS[cache.type] | (cache.level << 5) | (cache.selfInit ? 1 << 8 : 0),
    ebx: (cache.lineSize - 1) | ((cache.partitions - 1) << 12) | ((cache.associativity - 1) << 22),
    ecx: cache.sets - 1,
    edx: (cache.noInvdSharing ? 1 : 0) | (cache.inclusive ? 2 : 0) | (cache.complexIndexing ? 4 : 0),
  };
}

/**
 * One subleaf of leaf 4.
 * @param cores ids set aside for the cores of a package
 * @param byCount the threads of a core are told by their number, not by their ids
 */
export function leaf4(cache: CacheInfo, smp: SmpShape, cores: number, byCount: boolean): Registers {
  const own = parameters(cache);
  const shared = byCount && cache.share === 'core' ? smp.threads - 1 : sharedIds(cache, smp);
  return { ...own, eax: own.eax | ((cores - 1) << 26) | (shared << 14) };
}

/** One subleaf of leaf 8000001D. @param byCount threads that share are told by their number, not by their ids */
export function leaf8000001d(cache: CacheInfo, smp: SmpShape, byCount: boolean): Registers {
  const own = parameters(cache);
  const count = cache.share === 'core' ? smp.threads : threadsPerModule(smp);
  return { ...own, eax: own.eax | ((byCount ? count - 1 : sharedIds(cache, smp)) << 14) };
}

/** An L1 cache in leaf 80000005 (APM vol. 3, E.4.4). */
export const l1Amd = (cache: CacheInfo): number =>
  (cache.size << 24) | (cache.associativity << 16) | (cache.linesPerTag << 8) | cache.lineSize;

/** Associativity in leaf 80000006 (APM vol. 3, table E-4). */
const AMD_WAYS: Readonly<Record<number, number>> = {
  0: 0,
  1: 1,
  2: 2,
  4: 4,
  8: 6,
  16: 8,
  32: 0xa,
  48: 0xb,
  64: 0xc,
  96: 0xd,
  128: 0xe,
  255: 0xf,
};

/** The L2 cache in leaf 80000006, ECX. */
export const l2Amd = (cache: CacheInfo): number =>
  (cache.size << 16) | ((AMD_WAYS[cache.associativity] ?? 0) << 12) | (cache.linesPerTag << 8) | cache.lineSize;

/** The L3 cache in leaf 80000006, EDX: in units of 512 KiB. */
export const l3Amd = (cache: CacheInfo): number =>
  ((cache.size / 512) << 18) | ((AMD_WAYS[cache.associativity] ?? 0) << 12) | (cache.linesPerTag << 8) | cache.lineSize;
