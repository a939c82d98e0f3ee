/** Kernels that do wrong, by name, for the control and for tests: the agent's own kernel with one answer changed. */
import { CpuidTable } from '../../../corpora/cpuid.js';
import { type Faults, injectFaults } from '../../../reference-vmm/kvm/inject.js';
import type { Kvm, StatePart } from '../../../reference-vmm/kvm/kvm.js';

/** The stepping: a bit that no kernel touches and that every table has. */
const flipStepping = (table: CpuidTable): CpuidTable =>
  new CpuidTable(table.rows.map((row) => (row.leaf === 1 ? { ...row, eax: (row.eax ^ 1) >>> 0 } : row)));

/** The MSR that faults fall on: SYSCALL's target, which every 64-bit guest writes. */
export const FAULTY_MSR = 0xc0000081;
const isFaulty = (index: number): boolean => index === FAULTY_MSR;

/** A part of the state that arrives with one of its 32-bit words otherwise. */
const arrivesWith = (changed: StatePart, at: number, make: (word: number) => number): Faults => ({
  setState: (part, bytes) => {
    if (part !== changed) return bytes;
    const copy = Uint8Array.from(bytes);
    const words = new DataView(copy.buffer);
    words.setUint32(at, make(words.getUint32(at, true)), true);
    return copy;
  },
});

/** Offsets in `kvm_regs` and `kvm_sregs`, and a state of `kvm_mp_state` (arch/x86 asm/kvm.h): waiting for an interrupt. */
const [RIP, IDT_LIMIT, CR4, HALTED] = [128, 216, 248, 3];
const CR4_MCE = 1 << 6;
/** A guest-physical address below the local APIC where no memory is: no instruction can be fetched there. */
const NO_MEMORY = 0xe0000000;

const FAULTS = {
  /** The guest is shown one bit otherwise than KVM_GET_CPUID2 says. */
  'cpuid-shown-otherwise': { setCpuid2: flipStepping, getCpuid2: flipStepping },
  'cpuid-altered': { setCpuid2: flipStepping },
  'msr-not-kept': { losesMsr: isFaulty },
  'msr-refused': { refusesMsr: isFaulty },
  /** Guests that arrive have lost a bit of CR4 that the probe sets. */
  'register-not-kept': arrivesWith('sregs', CR4, (cr4) => cr4 & ~CR4_MCE),
  /** Guests that arrive go on where no instruction is. */
  'guest-lost': arrivesWith('regs', RIP, () => NO_MEMORY),
  /** Guests that arrive have no interrupt table: the first fault that the probe makes for its own use resets them, and they begin anew. */
  'guest-restarts': arrivesWith('sregs', IDT_LIMIT, () => 0),
  /** vCPUs that arrive wait for an interrupt that never comes. */
  'vcpu-never-woken': arrivesWith('mp-state', 0, () => HALTED),
} as const satisfies Record<string, Faults>;

export type Fault = keyof typeof FAULTS;

export const FAULT_NAMES = Object.keys(FAULTS) as [Fault, ...Fault[]];

/** Disposing it disposes `kvm`. */
export const withFault = (kvm: Kvm, fault: Fault): Kvm => injectFaults(kvm, FAULTS[fault]);
