/** Kernels that do wrong, by name, for the control and for tests: the agent's own kernel with one answer changed. */
import { CpuidTable } from '../../../corpora/cpuid.js';
import { type Faults, injectFaults } from '../../../reference-vmm/kvm/inject.js';
import type { Kvm } from '../../../reference-vmm/kvm/kvm.js';

/** The stepping: a bit that no kernel touches and that every table has. */
const flipStepping = (table: CpuidTable): CpuidTable =>
  new CpuidTable(table.rows.map((row) => (row.leaf === 1 ? { ...row, eax: (row.eax ^ 1) >>> 0 } : row)));

/** The MSR that faults fall on: SYSCALL's target, which every 64-bit guest writes. */
export const FAULTY_MSR = 0xc0000081;
const isFaulty = (index: number): boolean => index === FAULTY_MSR;

const FAULTS = {
  /** The guest is shown one bit otherwise than KVM_GET_CPUID2 says. */
  'cpuid-shown-otherwise': { setCpuid2: flipStepping, getCpuid2: flipStepping },
  'cpuid-altered': { setCpuid2: flipStepping },
  'msr-not-kept': { losesMsr: isFaulty },
  'msr-refused': { refusesMsr: isFaulty },
} as const satisfies Record<string, Faults>;

export type Fault = keyof typeof FAULTS;

export const FAULT_NAMES = Object.keys(FAULTS) as [Fault, ...Fault[]];

/** Disposing it disposes `kvm`. */
export const withFault = (kvm: Kvm, fault: Fault): Kvm => injectFaults(kvm, FAULTS[fault]);
