/** What results say of a host. */
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import type { HostSummary } from '../../reports/result-log.js';

/** True where the kernel adds bits to the table that a guest is given: no exact CPU is to be had there. */
export const altersCpuid = (host: HostCapabilities): boolean =>
  host.cpuidAdditions.rows.some(({ eax, ebx, ecx, edx }) => (eax | ebx | ecx | edx) !== 0);

export const summarizeHost = (id: string, host: HostCapabilities, ready = 'ready'): HostSummary => ({
  id,
  kernel: host.facts.kernel,
  module: host.facts.module,
  cpu: host.facts.cpuModel,
  note: altersCpuid(host) ? 'alters CPUID: cannot give an exact CPU' : ready,
});

/** kvm_pvm runs guests in the kernel's instruction emulator, which does not know XGETBV: the vCPU ends there (KVM_INTERNAL_ERROR_EMULATION). */
export const guestCanXgetbv = ({ facts }: HostCapabilities): boolean => facts.module !== 'kvm_pvm';
