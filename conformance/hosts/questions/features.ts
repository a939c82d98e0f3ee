/** `host features`: every named feature bit that a host knows of, and by whom a guest may have it. */
import type { CpuidField } from '../../../corpora/cpuid.js';
import { type Feature, featureDictionary } from '../../../corpora/features.js';
import type { HostCapabilities } from '../../../corpora/host-capabilities.js';
import { offeredBits } from '../../../reference-vmm/cpu-model/offered.js';
import { offeredMsrBit } from '../../../reference-vmm/cpu-model/offered-msrs.js';

/**
 * Who gives a feature: `always` the kernel, to every guest, asked or not; the `kernel` where it is asked for (KVM_GET_SUPPORTED_CPUID or a
 * feature MSR); the `monitor`, beyond what the kernel lists (notes on additions: reference-vmm/cpu-model/offered.ts). Not given: what KVM
 * would only `emulate`, and what the `cpu` has and the kernel keeps.
 */
export type Giver = 'always' | 'kernel' | 'monitor' | 'emulate' | 'cpu';

export interface HostFeature {
  /** QEMU's name, else Linux's, else cpuid.csv's. */
  readonly feature: string;
  /** `7.0.EBX`, or `0x0000010a` for a feature MSR. */
  readonly field: string;
  readonly bit: number;
  readonly by: Giver;
  /** A guest may have it. */
  readonly offered: boolean;
  readonly migratable: boolean;
}

/** In the dictionary's order; features that neither the CPU nor the kernel knows are left out. */
export const hostFeatures = (host: HostCapabilities): HostFeature[] =>
  featureDictionary().words.flatMap(({ cpuid, msr, features }) =>
    features.flatMap((feature) => {
      const by = cpuid ? cpuidGiver(host, cpuid, feature.bit) : msrGiver(host, msr!, feature.bit);
      return by ? [describe(feature, by)] : [];
    }),
  );

const describe = (feature: Feature, by: Giver): HostFeature => ({
  feature: feature.qemu[0] ?? feature.linux ?? feature.csv ?? '',
  ...{ field: feature.field, bit: feature.bit, by },
  offered: by !== 'emulate' && by !== 'cpu',
  migratable: feature.migratable,
});

function cpuidGiver(host: HostCapabilities, field: CpuidField, bit: number): Giver | null {
  const { leaf, subleaf, register } = field;
  const has = (table: HostCapabilities['hostCpuid']): boolean =>
    ((table.value(leaf, subleaf, register) >>> bit) & 1) === 1;
  if (has(host.cpuidAdditions)) return 'always';
  if ((offeredBits(host, field) >>> bit) & 1) return has(host.supportedCpuid) ? 'kernel' : 'monitor';
  if (has(host.emulatedCpuid)) return 'emulate';
  return has(host.hostCpuid) ? 'cpu' : null;
}

const msrGiver = (host: HostCapabilities, msr: number, bit: number): Giver | null =>
  offeredMsrBit(host, msr, bit) ? 'kernel' : null;
