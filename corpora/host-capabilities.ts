/** Host capabilities: what a kernel + CPU offers to guests, as a value. The same for a real host and for a capture. */
import type { CpuidTable } from './cpuid.js';
import type { MsrValue } from './identity.js';

/** Which kernel and CPU it is. */
export interface HostFacts {
  /** `uname -r`. */
  readonly kernel: string;
  /** `uname -v`: the distribution's build. */
  readonly kernelVersion: string;
  /** The vendor module that drives KVM: `kvm_amd`, `kvm_intel`, `kvm_pvm`; `unknown` where none shows. */
  readonly module: string;
  /** Parameters of `kvm` and of the vendor module, keyed `kvm_amd.npt`, values as in /sys/module. */
  readonly moduleParameters: Readonly<Record<string, string>>;
  /** CPUID 0 of the CPU, 12 characters. */
  readonly cpuVendor: string;
  /** `model name` of /proc/cpuinfo. */
  readonly cpuModel: string;
  /** `microcode` of /proc/cpuinfo, where it shows. */
  readonly microcode: string | null;
}

/** Everything that decides what may be exposed on a host. */
export interface HostCapabilities {
  readonly facts: HostFacts;
  /** KVM_GET_SUPPORTED_CPUID. */
  readonly supportedCpuid: CpuidTable;
  /** KVM_GET_EMULATED_CPUID: features that KVM emulates at a cost; not offered unless asked for. */
  readonly emulatedCpuid: CpuidTable;
  /** The CPU's own leaves, unfiltered. */
  readonly hostCpuid: CpuidTable;
  /** KVM_GET_MSR_INDEX_LIST. */
  readonly msrIndices: readonly number[];
  /** KVM_GET_MSR_FEATURE_INDEX_LIST with the values of those that can be read. */
  readonly featureMsrs: readonly MsrValue[];
  /**
   * Bits that KVM_GET_CPUID2 gives back although KVM_SET_CPUID2 was given a table without any feature: what this kernel adds to every guest.
   * Empty where the kernel keeps the table.
   */
  readonly cpuidAdditions: CpuidTable;
  /**
   * Feature bits of the supported table that KVM_GET_CPUID2 does not give back when KVM_SET_CPUID2 was given just that table: this kernel
   * lists them and takes them from every guest. Absent where it keeps them all.
   */
  readonly cpuidRemovals?: CpuidTable;
  /** KVM_CHECK_EXTENSION on a VM, by the kernel's names (`KVM_CAP_XSAVE2`); only capabilities that are not 0. */
  readonly capabilities: Readonly<Record<string, number>>;
}
