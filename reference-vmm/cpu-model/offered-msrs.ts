/** What of the feature MSRs may be exposed on a host (QEMU, kvm_arch_get_supported_msr_feature). */
import type { HostCapabilities } from '../../corpora/host-capabilities.js';

/** VMX controls: the high half says what may be 1, the low half what must be (SDM vol. 3D, appendix A.2). */
export const VMX_CONTROLS: ReadonlySet<number> = new Set([0x48b, 0x48d, 0x48e, 0x48f, 0x490]);

/** True where KVM lists the MSR and its value has the feature's bit. */
export function offeredMsrBit({ featureMsrs }: HostCapabilities, msr: number, bit: number): boolean {
  const listed = featureMsrs.find(({ index }) => index === msr);
  if (!listed) return false;
  const bits = VMX_CONTROLS.has(msr) ? (listed.value >> 32n) & ~(listed.value & 0xffff_ffffn) : listed.value;
  return ((bits >> BigInt(bit)) & 1n) === 1n;
}
