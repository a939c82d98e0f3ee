/** How many vCPUs a machine can have, and why not more: by the host, by this monitor, by the CPU. */
import type { HostCapabilities } from '../corpora/host-capabilities.js';
import type { CpuIdentity } from '../corpora/identity.js';
import { type Reason, reason } from '../corpora/verdict.js';

/** Most vCPUs of a machine: each takes a thread. */
export const VCPU_CAP = 16;
const APIC = 1 << 9;

/** Empty where the host can run all vCPUs of an identity, and a monitor that runs up to `cap` of them. */
export function vcpuLimitReasons(
  { vcpus }: Pick<CpuIdentity, 'vcpus'>,
  { capabilities }: Pick<HostCapabilities, 'capabilities'>,
  step: string,
  cap = VCPU_CAP,
): Reason[] {
  const many = vcpus.length;
  if (many === 1) return [];
  const refuse = (code: string, layer: 'monitor' | 'kernel' | 'guest', why: string): Reason[] => [
    reason({ code, step, layer, message: `${many} vCPUs: ${why}` }),
  ];
  if (many > cap) return refuse('too-many-vcpus', 'monitor', `this monitor runs at most ${cap}`);
  const offered = capabilities.KVM_CAP_MAX_VCPUS ?? 0;
  if (many > offered) return refuse('too-many-vcpus', 'kernel', `the kernel runs at most ${offered}`);
  // They are started by its INIT and SIPI (SDM vol. 3A 9.4).
  if (vcpus.some(({ cpuid }) => (cpuid.value(1, null, 'edx') & APIC) === 0))
    return refuse(
      'smp-without-apic',
      'guest',
      'this CPU has no local APIC, through which more than one could be started',
    );
  return [];
}
