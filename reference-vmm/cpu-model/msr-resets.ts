/** Reset values of MSRs that follow from the identity: from its features, vendor, CPUID fields or the vCPU's number; never from the host. */
import { cpuCondition, cpuNumber } from '../../corpora/cpu-condition.js';
import type { CpuFacts } from '../../corpora/cpu-facts.js';
import { featureDictionary } from '../../corpora/features.js';
import { hex32 } from '../../corpora/hex.js';
import type { MsrDefinition, ResetRule } from '../../corpora/msrs.js';
import { vmxBasic, vmxControls, vmxCr4Fixed1, vmxMisc } from './vmx-msrs.js';

/** The place of one MSR: which of an array, of which vCPU. */
export interface MsrPlace {
  readonly index: number;
  /** Within its array. */
  readonly number: number;
  readonly vcpu: number;
}

/** What an MSR holds after power-on; null where it cannot be read. */
export function resetValue({ reset }: MsrDefinition, cpu: CpuFacts, place: MsrPlace): bigint | null {
  if (reset === undefined) return null;
  if (typeof reset === 'string') return BigInt(reset);
  if ('rule' in reset) return RULES[reset.rule](cpu, place);
  return BigInt(reset.find(({ when = 'always' }) => cpuCondition(when)(cpu))!.value);
}

/** QEMU x86_cpu_realizefn, where `ucode-rev` is not given. */
const MICROCODE = { amd: 0x0100_0065n, others: 0x1_0000_0000n };
/** Hash of Intel's key, with which the CPU starts (Linux arch/x86/kvm/vmx/sgx.c, `vcpu_setup_sgx_lepubkeyhash`). */
const SGX_HASH = [0xa6053e051270b7acn, 0x6cfbe8ba8b3b413dn, 0xc4916d99f2b3735dn, 0xd4f8c05909f9bb3bn];
const APIC_BASE_ENABLED = 0xfee0_0800n;
const APIC_BASE_BSP = 0x100n;

const RULES: Readonly<Record<ResetRule, (cpu: CpuFacts, place: MsrPlace) => bigint>> = {
  'apic-base': (_, { vcpu }) => APIC_BASE_ENABLED | (vcpu === 0 ? APIC_BASE_BSP : 0n),
  features: (cpu, { index }) => featureBits(cpu, index),
  'microcode-revision': (cpu) => (cpu.vendor === 'AuthenticAMD' ? MICROCODE.amd : MICROCODE.others),
  'pmu-global-control': (cpu) => (1n << BigInt(cpuNumber('A.EAX[15:8]')(cpu))) - 1n,
  'sgx-hash': (_, { number }) => SGX_HASH[number]!,
  'tsc-frequency': (cpu) => BigInt(cpu.cpuid.value(0x4000_0010, null, 'eax')) * 1000n,
  'vcpu-index': (_, { vcpu }) => BigInt(vcpu),
  'vmx-basic': (cpu, { index }) => vmxBasic(featureBits(cpu, index)),
  'vmx-controls': (cpu, { index }) => vmxControls(index, (trueIndex) => featureBits(cpu, trueIndex)),
  'vmx-cr4-fixed1': vmxCr4Fixed1,
  'vmx-misc': (cpu, { index }) => vmxMisc(featureBits(cpu, index)),
};

/** The bits of a feature MSR whose features are on. */
function featureBits(cpu: CpuFacts, index: number): bigint {
  const { features = [] } = featureDictionary().word(hex32(index)) ?? {};
  return features
    .filter(({ qemu: [name] }) => name !== undefined && cpu.features.has(name))
    .reduce((bits, { bit }) => bits | (1n << BigInt(bit)), 0n);
}
