/** A `Kvm` over another that does wrong on purpose: what a kernel may do, for tests and for controls that must be caught. */
import type { CpuidTable } from '../../corpora/cpuid.js';
import type { MsrValue } from '../../corpora/identity.js';
import type { Capability } from './capability.js';
import type { Kvm, StatePart, Vcpu, Vm } from './kvm.js';

/** Each is asked at its call; what is left out is done right. */
export interface Faults {
  /** Capabilities that it does not offer. */
  readonly lacks?: readonly Capability[];
  /** What KVM_GET_SUPPORTED_CPUID answers. */
  readonly supportedCpuid?: (table: CpuidTable) => CpuidTable;
  /** What the kernel makes of a table that it is given: the guest sees the result. */
  readonly setCpuid2?: (table: CpuidTable) => CpuidTable;
  /** What the kernel says that it holds. */
  readonly getCpuid2?: (table: CpuidTable) => CpuidTable;
  /** MSRs at which KVM_SET_MSRS stops. */
  readonly refusesMsr?: (index: number) => boolean;
  /** MSRs that KVM_SET_MSRS reports as set and leaves as they were. */
  readonly losesMsr?: (index: number) => boolean;
  /** What KVM_SET_MSRS keeps of a value. */
  readonly keepsMsr?: (msr: MsrValue) => bigint;
  /** What these MSRs of a new vCPU hold once it has its CPUID. */
  readonly startsMsrs?: readonly MsrValue[];
  /** MSRs at which KVM_GET_MSRS stops. */
  readonly hidesMsr?: (index: number) => boolean;
  /** What KVM_GET_MSR_INDEX_LIST answers. */
  readonly msrIndices?: (indices: readonly number[]) => readonly number[];
  /** What the kernel says that a part of the state is. */
  readonly getState?: (part: StatePart, bytes: Uint8Array) => Uint8Array;
  /** What arrives of a part of the state; null: nothing, unsaid; throw to refuse it. */
  readonly setState?: (part: StatePart, bytes: Uint8Array) => Uint8Array | null;
}

/** `kvm` with `faults`. Disposing it disposes `kvm`. */
export const injectFaults = (kvm: Kvm, faults: Faults): Kvm => ({
  facts: kvm.facts,
  checkExtension: (capability) => (faults.lacks?.includes(capability) ? 0 : kvm.checkExtension(capability)),
  supportedCpuid: () => faults.supportedCpuid?.(kvm.supportedCpuid()) ?? kvm.supportedCpuid(),
  emulatedCpuid: () => kvm.emulatedCpuid(),
  hostCpuid: () => kvm.hostCpuid(),
  msrIndices: () => faults.msrIndices?.(kvm.msrIndices()) ?? kvm.msrIndices(),
  featureMsrs: () => kvm.featureMsrs(),
  createVm: () => faultyVm(kvm.createVm(), faults),
  [Symbol.dispose]: () => kvm[Symbol.dispose](),
});

const faultyVm = (vm: Vm, faults: Faults): Vm => ({
  checkExtension: (capability) => (faults.lacks?.includes(capability) ? 0 : vm.checkExtension(capability)),
  enableCap: (capability, ...args) => vm.enableCap(capability, ...args),
  createMemory: (ranges) => vm.createMemory(ranges),
  openDirtyLog: (gpa) => vm.openDirtyLog(gpa),
  createVcpu: (id) => faultyVcpu(vm.createVcpu(id), faults),
  getClock: () => vm.getClock(),
  setClock: (clock) => vm.setClock(clock),
  setMsrFilter: (filter) => vm.setMsrFilter(filter),
  [Symbol.dispose]: () => vm[Symbol.dispose](),
});

const faultyVcpu = (vcpu: Vcpu, faults: Faults): Vcpu => ({
  id: vcpu.id,
  enableCap: (capability, ...args) => vcpu.enableCap(capability, ...args),
  setCpuid2: (table) => {
    vcpu.setCpuid2(faults.setCpuid2?.(table) ?? table);
    vcpu.setMsrs(faults.startsMsrs ?? []);
  },
  getCpuid2: () => faults.getCpuid2?.(vcpu.getCpuid2()) ?? vcpu.getCpuid2(),
  getRegs: () => vcpu.getRegs(),
  setRegs: (regs) => vcpu.setRegs(regs),
  getSregs: () => vcpu.getSregs(),
  setSregs: (sregs) => vcpu.setSregs(sregs),
  translate: (linear) => vcpu.translate(linear),
  getState: (part) => faults.getState?.(part, vcpu.getState(part)) ?? vcpu.getState(part),
  setState: (part, bytes) => {
    const arrives = faults.setState ? faults.setState(part, bytes) : bytes;
    if (arrives) vcpu.setState(part, arrives);
  },
  getTscKhz: () => vcpu.getTscKhz(),
  setTscKhz: (khz) => vcpu.setTscKhz(khz),
  getMsrs: (indices) => vcpu.getMsrs(upTo(indices, faults.hidesMsr)),
  setMsrs: (values) => setMsrs(vcpu, values, faults),
  dropStrayReads: () => vcpu.dropStrayReads(),
  run: (deadline) => vcpu.run(deadline),
  settle: () => vcpu.settle(),
  launch: () => vcpu.launch(),
  landed: () => vcpu.landed(),
  kick: () => vcpu.kick(),
  land: () => vcpu.land(),
  [Symbol.dispose]: () => vcpu[Symbol.dispose](),
});

function upTo(indices: readonly number[], stops: ((index: number) => boolean) | undefined): readonly number[] {
  const at = stops ? indices.findIndex(stops) : -1;
  return at < 0 ? indices : indices.slice(0, at);
}

function setMsrs(vcpu: Vcpu, values: readonly MsrValue[], { refusesMsr, losesMsr, keepsMsr }: Faults): number {
  const tried = values.slice(
    0,
    upTo(
      values.map(({ index }) => index),
      refusesMsr,
    ).length,
  );
  const kept = losesMsr ? tried.filter(({ index }) => !losesMsr(index)) : tried;
  const done = vcpu.setMsrs(keepsMsr ? kept.map((msr) => ({ ...msr, value: keepsMsr(msr) })) : kept);
  const refused = kept[done];
  return refused ? tried.indexOf(refused) : tried.length;
}
