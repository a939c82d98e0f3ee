/** Monitors that do wrong: between the monitor and its KVM, calls are left out, come in another order or say something else. */
import type { CpuidTable } from '../../corpora/cpuid.js';
import type { MsrValue } from '../../corpora/identity.js';
import type { MsrExit, VcpuExit } from '../../reference-vmm/kvm/exit.js';
import type { Kvm, Vcpu } from '../../reference-vmm/kvm/kvm.js';
import { flipBits, withFields } from './fields.js';
import { over, overGuests } from './over.js';

type MonitorFault = (kvm: Kvm, msrs: readonly number[]) => Kvm;

/** What the monitor answers where the guest reads these MSRs. */
const answering = (
  vcpu: Vcpu,
  msrs: readonly number[],
  value: (index: number, right: bigint) => bigint,
): Partial<Vcpu> => {
  const answered = <E extends VcpuExit | null>(exit: E): E =>
    isRead(exit) && msrs.includes(exit.index) ? { ...exit, answer: (right) => answer(exit, right, value) } : exit;
  return {
    run: (deadline) => answered(vcpu.run(deadline)),
    landed: () => answered(vcpu.landed()),
    land: () => answered(vcpu.land()),
  };
};

const isRead = (exit: VcpuExit | null): exit is MsrExit => exit?.reason === 'rdmsr';

function answer(exit: MsrExit, right: bigint | '#GP', value: (index: number, right: bigint) => bigint): void {
  exit.answer(typeof right === 'bigint' ? value(exit.index, right) : right);
}

const MONITORS: Readonly<Record<string, MonitorFault>> = {
  /** Guests reach these MSRs of the kernel, though their CPU does not have them. */
  'lets-msrs-through': (kvm, msrs) =>
    overGuests(kvm, {
      vm: (vm) => ({
        setMsrFilter: ({ byDefault, ranges }) => {
          const open = msrs.map((base) => ({ base, allowed: [true], access: 'read' as const }));
          vm.setMsrFilter({ byDefault, ranges: [...open, ...ranges] });
        },
      }),
    }),
  /** MSRs are the host's, not the identity's. */
  'answers-with-the-hosts-msrs': (kvm, msrs) => {
    const own = new Map(kvm.featureMsrs().map(({ index, value }) => [index, value]));
    return overGuests(kvm, { vcpu: (vcpu) => answering(vcpu, msrs, (index) => own.get(index) ?? 0n) });
  },
  /** Only the first vCPU has their values. */
  'gives-other-vcpus-0': (kvm, msrs) =>
    overGuests(kvm, { vcpu: (vcpu) => (vcpu.id === 0 ? {} : answering(vcpu, msrs, () => 0n)) }),
  /** All that goes to the MSRs of vCPU 1 goes to those of vCPU 2, and the other way round: what is read back is right. */
  'mixes-up-vcpus': (kvm) =>
    over(kvm, {
      createVm: () => {
        const vm = kvm.createVm();
        const made = new Map<number, Vcpu>();
        const otherOf = (id: number): Vcpu => made.get(3 - id)!;
        return over(vm, {
          createVcpu: (id) => {
            const vcpu = vm.createVcpu(id);
            made.set(id, vcpu);
            if (id === 0) return vcpu;
            return over(vcpu, {
              setMsrs: (msrs) => otherOf(id).setMsrs(msrs),
              getMsrs: (indices) => otherOf(id).getMsrs(indices),
            });
          },
        });
      },
    }),
  /** Their values are read from a vCPU that has no CPUID yet. */
  'reads-msrs-before-cpuid': (kvm, msrs) =>
    overGuests(kvm, {
      vcpu: (vcpu) => {
        const early = new Map(vcpu.getMsrs(msrs).map(({ index, value }) => [index, value]));
        return answering(vcpu, msrs, (index) => early.get(index) ?? 0n);
      },
    }),
  /** After a reset they read 0. Each reset takes its state from a VM of its own. */
  'clears-msrs-at-reset': (kvm, msrs) => {
    let machines = 0;
    return overGuests(kvm, {
      vm: () => {
        machines++;
        return {};
      },
      vcpu: (vcpu) => answering(vcpu, msrs, (_index, right) => (machines > 2 ? 0n : right)),
    });
  },
  /** The value of each goes to the one after it. */
  'writes-msrs-one-too-far': (kvm, msrs) =>
    overGuests(kvm, {
      vcpu: (vcpu) => ({
        setMsrs: (values) => vcpu.setMsrs(values.map((msr) => (msrs.includes(msr.index) ? oneFurther(msr) : msr))),
      }),
    }),
  /** No local APIC in the kernel. */
  'makes-no-local-apic': (kvm) =>
    overGuests(kvm, {
      vm: (vm) => ({
        enableCap: (capability, ...args) =>
          capability === 'KVM_CAP_SPLIT_IRQCHIP' ? undefined : vm.enableCap(capability, ...args),
      }),
    }),
  /** The local APIC is restored last, after the MSRs that need it. */
  'restores-the-local-apic-last': (kvm) =>
    overGuests(kvm, {
      vcpu: (vcpu) => {
        let lapic: Uint8Array | null = null;
        return {
          setState: (part, bytes) => {
            if (part === 'lapic') lapic = bytes;
            else vcpu.setState(part, bytes);
          },
          run: (deadline) => {
            if (lapic) vcpu.setState('lapic', lapic);
            lapic = null;
            return vcpu.run(deadline);
          },
        };
      },
    }),
  /** A reset makes another vCPU of one that has run: CPUID is set again, with another APIC id. */
  'reuses-vcpus': (kvm) =>
    overGuests(kvm, {
      vcpu: (vcpu) => {
        let [first, ran]: [CpuidTable | null, boolean] = [null, false];
        return {
          setCpuid2: (table) => {
            first = table;
            vcpu.setCpuid2(table);
          },
          run: (deadline) => {
            ran = true;
            return vcpu.run(deadline);
          },
          setRegs: (regs) => {
            vcpu.setRegs(regs);
            if (ran && first) vcpu.setCpuid2(withFields(first, { '1.EBX': '0x01000000' }, flipBits));
          },
        };
      },
    }),
};

const oneFurther = (msr: MsrValue): MsrValue => ({ ...msr, index: msr.index + 1 });

/** Names of all faults. */
export const monitorFaultNames = (): string[] => Object.keys(MONITORS);

/** `kvm` as a monitor with this fault uses it. Throws `RangeError` for a fault that does not exist. */
export function monitorWith(kvm: Kvm, fault: string, msrs: readonly number[]): Kvm {
  const make = MONITORS[fault];
  if (!make) throw new RangeError(`no monitor fault '${fault}'`);
  return make(kvm, msrs);
}
