/** Topology: field widths of the APIC id and the ids of each vCPU (QEMU include/hw/i386/topology.h). */
import type { SmpShape } from '../../corpora/identity.js';

/** Bits that number `count` things. */
const width = (count: number): number => (count <= 1 ? 0 : 32 - Math.clz32(count - 1));

export const coreOffset = (smp: SmpShape): number => width(smp.threads);
export const moduleOffset = (smp: SmpShape): number => coreOffset(smp) + width(smp.cores);
export const dieOffset = (smp: SmpShape): number => moduleOffset(smp) + width(smp.modules);
export const packageOffset = (smp: SmpShape): number => dieOffset(smp) + width(smp.dies);

/** Ids set aside for the cores of a package. */
export const coreIds = (smp: SmpShape): number => 1 << (packageOffset(smp) - coreOffset(smp));

export const threadsPerModule = (smp: SmpShape): number => smp.threads * smp.cores;
export const threadsPerDie = (smp: SmpShape): number => threadsPerModule(smp) * smp.modules;
export const threadsPerPackage = (smp: SmpShape): number => threadsPerDie(smp) * smp.dies;

/** True where there are dies or modules: what leaf 0x1F was made for. */
export const hasExtendedTopology = (smp: SmpShape): boolean => smp.dies > 1 || smp.modules > 1;

/** Where one vCPU stands. */
export interface TopologyIds {
  readonly socket: number;
  readonly die: number;
  readonly module: number;
  readonly core: number;
  readonly thread: number;
}

/** The place of vCPU number `index`: threads count fastest, then cores, modules, dies, sockets. */
export function topologyIds(smp: SmpShape, index: number): TopologyIds {
  return {
    socket: Math.floor(index / threadsPerPackage(smp)),
    die: Math.floor(index / threadsPerDie(smp)) % smp.dies,
    module: Math.floor(index / threadsPerModule(smp)) % smp.modules,
    core: Math.floor(index / smp.threads) % smp.cores,
    thread: index % smp.threads,
  };
}

/** The APIC id of vCPU number `index`; ids have holes where a count is no power of two. */
export function apicIdOf(smp: SmpShape, index: number): number {
  const ids = topologyIds(smp, index);
  return (
    (ids.socket << packageOffset(smp)) |
    (ids.die << dieOffset(smp)) |
    (ids.module << moduleOffset(smp)) |
    (ids.core << coreOffset(smp)) |
    ids.thread
  );
}
