/** The MSRs that the probe of a cell reads, and what it must read. */
import type { HostCapabilities } from '../corpora/host-capabilities.js';
import type { CpuIdentity } from '../corpora/identity.js';
import type { ObservedMsr } from '../corpora/observation.js';
import { isOpen, msrsOf, resetMsrs } from '../reference-vmm/cpu-model/msrs.js';
import { shortfalls } from '../reference-vmm/cpu-model/offered.js';
import { msrsOfShortfalls } from '../reference-vmm/realize.js';

/**
 * MSRs in which kernels from 5.10 to 7.3 were seen to differ for one CPU: listed by some and not by others, or readable on some
 * whatever CPUID says. A guest that does not have them must not reach them anywhere.
 */
export const KERNELS_DIFFER: readonly number[] = [
  ...[0x48, 0x9e, 0x140, 0x1d9, 0x1db, 0x1dc, 0x1dd, 0x1de, 0x309, 0x30a, 0x30b, 0x38d, 0x38e, 0x38f, 0x390],
  ...[0x3f1, 0x3f2, 0x600, 0x40000000, 0x40000021, 0x40000118, 0x4b564d05, 0x4b564d06, 0xc0000104, 0xc0010000],
  ...[0xc0010130, 0xc0010200, 0xc0010201, 0xc001020b],
];

/** What each vCPU must read. */
export interface MsrExpectation {
  /** What the probe is to read. */
  readonly asked: readonly number[];
  /** By the number of the vCPU. */
  readonly values: (vcpu: number) => readonly ObservedMsr[];
  /** MSRs that are read and not in `values`. */
  readonly others: 'denied' | 'not-compared';
}

/** Nothing is read. */
export const NO_MSRS: MsrExpectation = { asked: [], values: () => [], others: 'not-compared' };

/**
 * A guest reads all MSRs of its identity with their reset values, and none of `KERNELS_DIFFER` that are not among them. The guest of
 * an open pair reads what its host has of its own, and may find more. `forcedOn`: hosts on which missing features are forced; what a kernel does with MSRs of these is not
 * compared; the monitor answers for its own on every host.
 */
export function msrExpectation(identity: CpuIdentity, forcedOn: readonly HostCapabilities[] = []): MsrExpectation {
  const forced = forcedMsrs(identity, forcedOn);
  const values = (vcpu: number): readonly ObservedMsr[] =>
    (vcpu === 0 ? identity.msrs : resetMsrs(identity, { vcpu })).filter(({ index }) => !forced.has(index));
  const own = new Set(values(0).map(({ index }) => index));
  const others = KERNELS_DIFFER.filter((index) => !own.has(index) && !forced.has(index));
  const asked = [...own, ...others];
  return isOpen(identity) ? { asked, values: () => [], others: 'not-compared' } : { asked, values, others: 'denied' };
}

/** MSRs of forced features that a kernel answers, as it likes. */
export function forcedMsrs(identity: CpuIdentity, forcedOn: readonly HostCapabilities[]): ReadonlySet<number> {
  const missing = forcedOn.flatMap((host) => identity.vcpus.flatMap(({ cpuid }) => shortfalls(cpuid, host)));
  const ofShortfalls = msrsOfShortfalls(missing, identity.vcpus[0]!.cpuid, identity.features);
  return new Set([...ofShortfalls].filter((index) => !heldByMonitor(identity, index)));
}

const heldByMonitor = (identity: CpuIdentity, index: number): boolean =>
  msrsOf(identity).find((msr) => msr.index === index)?.definition.held === 'monitor';
