/** What kernels do that none of their answers says, by their version. */
import type { HostFacts } from '../../corpora/host-capabilities.js';

/**
 * From Linux 6.13 on KVM_GET_MSRS gives 0, and KVM_SET_MSRS takes nothing else, for an MSR that the vCPU's CPUID does not have; before,
 * KVM_GET_MSRS gave IA32_ARCH_CAPABILITIES of the CPU whatever CPUID said (a5d563890b8f).
 */
export function hidesMsrs({ kernel }: Pick<HostFacts, 'kernel'>): boolean {
  const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  return major > 6 || (major === 6 && minor >= 13);
}

/** Counters of P6 and their selectors: without a PMU every kernel hides them from guests or takes 0, whether it lists them or not (Linux arch/x86/kvm/x86.c). */
export const takesZero = (index: number): boolean =>
  (index >= 0xc1 && index < 0xc9) || (index >= 0x186 && index < 0x18e);
