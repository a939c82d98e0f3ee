/** A real KVM restricted to what a captured kernel offers: guests run, and what that kernel lacks is refused as it would refuse it. */
import { type CpuidRow, CpuidTable } from '../../corpora/cpuid.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { withoutBits } from '../cpu-model/additions.js';
import { FEATURE_WORDS } from '../cpu-model/offered.js';
import { CAPABILITIES, type Capability } from './capability.js';
import { injectFaults } from './inject.js';
import type { Kvm } from './kvm.js';

/**
 * Offers the features, MSRs and capabilities that both have. What the kernel below does to CPUID, and its version, stay its own: an overlay can take
 * away and not change behaviour. Disposing it disposes `kvm`.
 */
export function overlayKvm(kvm: Kvm, captured: HostCapabilities): Kvm {
  const lacking = new Set(kvm.msrIndices().filter((index) => !captured.msrIndices.includes(index)));
  const lacks = (index: number): boolean => lacking.has(index);
  return {
    ...injectFaults(kvm, {
      lacks: (Object.keys(CAPABILITIES) as Capability[]).filter((name) => !captured.capabilities[name]),
      supportedCpuid: (table) => withoutBits(table, featuresLackedBy(captured)),
      refusesMsr: lacks,
      hidesMsr: lacks,
    }),
    msrIndices: () => kvm.msrIndices().filter((index) => !lacks(index)),
    featureMsrs: () => kvm.featureMsrs().filter(({ index }) => captured.featureMsrs.some((one) => one.index === index)),
  };
}

/** Every feature bit that a kernel does not offer. */
function featuresLackedBy({ supportedCpuid }: HostCapabilities): CpuidTable {
  const rows = new Map<string, CpuidRow>();
  for (const [leaf, subleaf, register] of FEATURE_WORDS) {
    const place = `${leaf}.${subleaf}`;
    const row = rows.get(place) ?? { leaf, subleaf, eax: 0, ebx: 0, ecx: 0, edx: 0 };
    rows.set(place, { ...row, [register]: ~supportedCpuid.value(leaf, subleaf, register) >>> 0 });
  }
  return new CpuidTable(rows.values());
}
