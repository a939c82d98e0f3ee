/** VMX capability MSRs (SDM vol. 3, appendix A) of an identity, where a host would give its own; as QEMU and KVM have them. */
import { cpuCondition } from '../../corpora/cpu-condition.js';
import type { CpuFacts } from '../../corpora/cpu-facts.js';

/** KVM's own layout of a nested VMCS (Linux arch/x86/kvm/vmx/vmcs12.h): revision, 4096 bytes, write-back. */
const KVM_VMCS = 0x11e5_7ed0n | (0x1000n << 32n) | (6n << 50n);
/** The preemption timer that KVM emulates counts once in 2^5 TSC cycles (Linux arch/x86/kvm/vmx/nested.c). */
const KVM_PREEMPTION_TIMER_RATE = 5n;

export const vmxBasic = (features: bigint): bigint => KVM_VMCS | features;
export const vmxMisc = (features: bigint): bigint => KVM_PREEMPTION_TIMER_RATE | features;

interface Controls {
  /** The MSR whose features these are: the TRUE one. */
  readonly features: number;
  /** Controls that are on unless a TRUE MSR says that they may be off (SDM vol. 3, A.3 to A.5). */
  readonly default1: number;
  /** True where this MSR cannot say so. */
  readonly fixed?: true;
}

const PIN = { features: 0x48d, default1: 0x16 };
const PRIMARY = { features: 0x48e, default1: 0x0401_e172 };
const EXIT = { features: 0x48f, default1: 0x0003_6dff };
const ENTRY = { features: 0x490, default1: 0x11ff };

const CONTROLS: Readonly<Record<number, Controls>> = {
  ...{ 1153: { ...PIN, fixed: true }, 1154: { ...PRIMARY, fixed: true } },
  ...{ 1155: { ...EXIT, fixed: true }, 1156: { ...ENTRY, fixed: true } },
  ...{ 1163: { features: 0x48b, default1: 0 }, 1165: PIN, 1166: PRIMARY, 1167: EXIT, 1168: ENTRY },
};

/** Low half: controls that must be on; high half: controls that may be on. */
export function vmxControls(index: number, featuresOf: (index: number) => bigint): bigint {
  const { features, default1, fixed = false } = CONTROLS[index]!;
  const offered = featuresOf(features);
  const ones = BigInt(default1);
  const mustBeOne = fixed ? ones : ones & ~offered;
  return mustBeOne | ((offered | ones) << 32n);
}

/** Bits of CR4 by the feature that allows them (Linux arch/x86/kvm/vmx/vmx.c, `nested_vmx_cr_fixed1_bits_update`). */
const CR4_BITS: Readonly<Record<number, string>> = {
  ...{ 0: '1.EDX[1]', 1: '1.EDX[1]', 2: '1.EDX[4]', 3: '1.EDX[2]', 4: '1.EDX[3]', 5: '1.EDX[6]', 6: '1.EDX[7]' },
  ...{ 7: '1.EDX[13]', 8: 'always', 9: '1.EDX[24]', 10: '1.EDX[25]', 11: '7.0.ECX[2]', 12: '7.0.ECX[16]' },
  ...{ 13: '1.ECX[5]', 14: '1.ECX[6]', 16: '7.0.EBX[0]', 17: '1.ECX[17]', 18: '1.ECX[26]', 20: '7.0.EBX[7]' },
  ...{ 21: '7.0.EBX[20]', 22: '7.0.ECX[3]' },
};

export const vmxCr4Fixed1 = (cpu: CpuFacts): bigint =>
  Object.entries(CR4_BITS)
    .filter(([, allowedBy]) => cpuCondition(allowedBy)(cpu))
    .reduce((cr4, [bit]) => cr4 | (1n << BigInt(bit)), 0n);
