/** Puts an MSR policy into force on a VM, and says why a host cannot have it. */
import { hex32 } from '../corpora/hex.js';
import type { HostCapabilities } from '../corpora/host-capabilities.js';
import type { CpuIdentity } from '../corpora/identity.js';
import { msrLabel } from '../corpora/msrs.js';
import { type Reason, reason } from '../corpora/verdict.js';
import { isOpen } from './cpu-model/msrs.js';
import type { Capability } from './kvm/capability.js';
import { takesZero } from './kvm/kernel-rules.js';
import type { MsrFilter, Vcpu, Vm } from './kvm/kvm.js';
import type { KernelMsrs, MsrPolicy } from './msr-policy.js';

/** KVM_MSR_EXIT_REASON_FILTER of `linux/kvm.h`. */
const EXIT_WHEN_FILTERED = 4n;
const CR0_PG = 1n << 31n;
const IA32_EFER = 0xc0000080;

/** All in Linux 5.10. */
const NEEDED: readonly Capability[] = [
  'KVM_CAP_X86_MSR_FILTER',
  'KVM_CAP_X86_USER_SPACE_MSR',
  'KVM_CAP_ENFORCE_PV_FEATURE_CPUID',
];

/** Why the MSRs of an identity cannot be kept on this host: without its filter or, with `ignore_msrs`, with lies about what it keeps. */
export function msrLimitReasons(
  { facts, capabilities }: Pick<HostCapabilities, 'facts' | 'capabilities'>,
  step: string,
): Reason[] {
  const missing = NEEDED.filter((capability) => !capabilities[capability]);
  const reasons = missing.map((capability) =>
    reason({
      code: 'msr-filter-not-offered',
      step,
      layer: 'kernel',
      message: `the kernel has no ${capability}: a guest would reach MSRs that are not of its CPU`,
    }),
  );
  if (!isOn(facts.moduleParameters['kvm.ignore_msrs'])) return reasons;
  const message = 'kvm.ignore_msrs is on: the kernel takes MSRs that it does not have, and loses them';
  return [...reasons, reason({ code: 'ignore-msrs', step, layer: 'kernel', message })];
}

const isOn = (parameter: string | undefined): boolean => parameter === 'Y' || parameter === '1';

/**
 * Each MSR that a state carries and that is not among `known`, those that travel with its identity here: it would be lost. A kernel that does not list a counter of P6
 * takes a 0 for it all the same; where an open pair brings another value, the kernel says so.
 */
export const unknownMsrReasons = (
  identity: CpuIdentity,
  carried: readonly number[],
  known: readonly number[],
  step: string,
): Reason[] => {
  const here = new Set(known);
  return carried
    .filter((index) => !here.has(index) && !(isOpen(identity) && takesZero(index)))
    .map((index) =>
      reason({
        ...{ code: 'msr-unknown', step, layer: 'kernel', msr: hex32(index) },
        message: `${msrLabel(index)}: the state carries it and this CPU has none`,
      }),
    );
};

/** Precondition: `msrLimitReasons` gave none; no vCPU has run. All vCPUs of an identity have the same MSRs. */
export function limitMsrs(vm: Vm, vcpus: readonly Vcpu[], policy: MsrPolicy, filter: MsrFilter): void {
  vm.enableCap('KVM_CAP_X86_USER_SPACE_MSR', EXIT_WHEN_FILTERED);
  vm.setMsrFilter(filter);
  for (const vcpu of vcpus) {
    vcpu.enableCap('KVM_CAP_ENFORCE_PV_FEATURE_CPUID', 1n);
    if (!policy.isReadable(IA32_EFER)) vcpu.dropStrayReads();
  }
}

/** The MSRs of a vCPU as the policy asks for them. */
export const kernelMsrs = (vcpu: Vcpu): KernelMsrs => ({
  get: (index) => vcpu.getMsrs([index])[0]?.value ?? 0n,
  set: (index, value) => vcpu.setMsrs([{ index, value }]) === 1,
  paging: () => (vcpu.getSregs().cr0 & CR0_PG) !== 0n,
});
