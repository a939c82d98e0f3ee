/** Everything that keeps the guest of a resolved pair off a host. */
import { featureName } from '../../../corpora/features.js';
import { hex32, parseHex32 } from '../../../corpora/hex.js';
import type { HostCapabilities } from '../../../corpora/host-capabilities.js';
import { msrLabel } from '../../../corpora/msrs.js';
import { type Reason, reason } from '../../../corpora/verdict.js';
import { withAdditions } from '../../../reference-vmm/cpu-model/additions.js';
import { alterations } from '../../../reference-vmm/cpu-model/differences.js';
import { lacksOf } from '../../../reference-vmm/cpu-model/enforce.js';
import { isOpen } from '../../../reference-vmm/cpu-model/msrs.js';
import { offeredBits } from '../../../reference-vmm/cpu-model/offered.js';
import type { ResolvedCpu } from '../../../reference-vmm/cpu-model/resolve.js';
import { cpuidTables } from '../../../reference-vmm/cpu-model/table.js';
import { takesZero } from '../../../reference-vmm/kvm/kernel-rules.js';
import { msrLimitReasons } from '../../../reference-vmm/msr-limits.js';
import { vcpuLimitReasons } from '../../../reference-vmm/vcpu-limits.js';

/** What is not offered, and what the kernel would add or cannot hold back, whatever the monitor. Empty: the guest runs there as it is. */
export const startBlockers = ({ cpu, expansion }: ResolvedCpu, host: HostCapabilities): Reason[] => [
  ...lacksOf(cpu, expansion.withoutNeeds, host).reasons,
  ...additionBlockers(cpu, host),
  ...msrLimitReasons(host, 'predicted'),
  ...vcpuLimitReasons({ vcpus: cpuidTables(cpu) }, host, 'predicted', Number.POSITIVE_INFINITY),
];

function additionBlockers(cpu: ResolvedCpu['cpu'], host: HostCapabilities): Reason[] {
  if (host.cpuidAdditions.rows.length === 0) return [];
  const { cpuid } = cpuidTables(cpu)[0]!;
  const place = { step: 'predicted', vcpu: 0, nameOf: featureName };
  return alterations(cpuid, withAdditions(cpuid, host.cpuidAdditions), place);
}

/** `startBlockers` at the destination, and the MSRs that travel and are not known there. */
export const moveBlockers = (
  guest: ResolvedCpu,
  machine: string,
  from: HostCapabilities,
  to: HostCapabilities,
): Reason[] => [
  ...startBlockers(guest, to).map((why) => (sameCpu(why, from, to) ? { ...why, layer: 'kernel' as const } : why)),
  ...(isOpen({ cpuModel: guest.model.name, machine }) ? msrBlockers(from, to) : []),
];

/** Where both CPUs have the same register, and the source offers the feature all the same, it is the kernels that differ. */
function sameCpu(
  { code, leaf, subleaf, register, bit }: Reason,
  from: HostCapabilities,
  to: HostCapabilities,
): boolean {
  if (code !== 'cpuid-not-offered' || leaf === null || register === null || bit === null) return false;
  const field = { leaf: parseHex32(leaf), subleaf: subleaf === null ? null : parseHex32(subleaf), register };
  const own = ({ hostCpuid }: HostCapabilities): number => hostCpuid.value(field.leaf, field.subleaf, register);
  return own(from) === own(to) && ((offeredBits(from, field) >>> bit) & 1) === 1;
}

/** The guest of a pair that follows its host carries every MSR that its kernel lists, but for feature MSRs that its CPUID denies. */
export function msrBlockers(from: HostCapabilities, to: HostCapabilities): Reason[] {
  const known = new Set(to.msrIndices);
  return from.msrIndices
    .filter((index) => !known.has(index) && !takesZero(index))
    .map((index) => msrReason('msr-not-listed', index, "the source's kernel lists it, the destination's does not"));
}

const msrReason = (code: string, index: number, why: string): Reason =>
  reason({
    ...{ code, step: 'destination', msr: hex32(index), layer: 'kernel' },
    message: `${msrLabel(index)}: ${why}`,
  });
