/** For tests: a kernel that has learnt an MSR and the CPUID bit for it, as an overlay of the real one. */
import { CpuidTable } from '../corpora/cpuid.js';
import type { VcpuExit } from './kvm/exit.js';
import type { Kvm, MsrFilter, MsrFilterRange, Vcpu, Vm } from './kvm/kvm.js';

/** In KVM's own range; no kernel has it. */
export const KVM_FOO_MSR = 0x4b564d7f;
/** CPUID_KVM_FOO: a bit of 40000001.EAX that no kernel has. */
export const KVM_FEATURE_FOO = 1 << 22;
const KVM_FEATURES = 0x40000001;

export const withFoo = (table: CpuidTable): CpuidTable =>
  new CpuidTable(
    table.rows.map((row) => (row.leaf === KVM_FEATURES ? { ...row, eax: (row.eax | KVM_FEATURE_FOO) >>> 0 } : row)),
  );

/** `kvm` as a kernel that has KVM_FOO_MSR: listed, kept for each vCPU, and answered to guests unless a filter denies it. */
export const fooKernel = (kvm: Kvm): Kvm => ({
  facts: { ...kvm.facts, kernel: '3.7.0' },
  checkExtension: (capability) => kvm.checkExtension(capability),
  supportedCpuid: () => withFoo(kvm.supportedCpuid()),
  emulatedCpuid: () => kvm.emulatedCpuid(),
  hostCpuid: () => kvm.hostCpuid(),
  msrIndices: () => [...kvm.msrIndices(), KVM_FOO_MSR],
  featureMsrs: () => kvm.featureMsrs(),
  createVm: () => fooVm(kvm.createVm()),
  [Symbol.dispose]: () => kvm[Symbol.dispose](),
});

/** KVM_MSR_EXIT_REASON_FILTER. */
const WHEN_FILTERED = 4n;

function fooVm(vm: Vm): Vm {
  let filter: MsrFilter | null = null;
  // Only so can the overlay answer for the kernel below, which does not know the MSR.
  vm.enableCap('KVM_CAP_X86_USER_SPACE_MSR', WHEN_FILTERED);
  vm.setMsrFilter({ byDefault: 'allow', ranges: [{ base: KVM_FOO_MSR, allowed: [false], access: 'read-write' }] });
  return {
    checkExtension: (capability) => vm.checkExtension(capability),
    enableCap: (capability, ...args) => vm.enableCap(capability, ...args),
    createMemory: (ranges) => vm.createMemory(ranges),
    openDirtyLog: (gpa) => vm.openDirtyLog(gpa),
    createVcpu: (id) => fooVcpu(vm.createVcpu(id), () => filter === null || filter.ranges.some(allowsFoo)),
    getClock: () => vm.getClock(),
    setClock: (clock) => vm.setClock(clock),
    setMsrFilter: (given) => {
      filter = given;
      vm.setMsrFilter({ ...given, ranges: given.ranges.map(withoutFoo) });
    },
    [Symbol.dispose]: () => vm[Symbol.dispose](),
  };
}

const placeOfFoo = ({ base }: MsrFilterRange): number => KVM_FOO_MSR - base;
const allowsFoo = (range: MsrFilterRange): boolean => range.allowed[placeOfFoo(range)] ?? false;
/** So that the kernel below hands it to us. */
const withoutFoo = (range: MsrFilterRange): MsrFilterRange => ({
  ...range,
  allowed: range.allowed.map((allowed, at) => allowed && at !== placeOfFoo(range)),
});

function fooVcpu(vcpu: Vcpu, answers: () => boolean): Vcpu {
  let foo = 0n;
  /** Answers an access of the MSR; any other exit is for the monitor. */
  const isAnswered = (exit: VcpuExit): boolean => {
    if (!('index' in exit) || exit.index !== KVM_FOO_MSR || !answers()) return false;
    if (exit.reason === 'wrmsr') foo = exit.value;
    exit.answer(foo);
    return true;
  };
  const run = (deadline: number): VcpuExit => {
    for (;;) {
      const exit = vcpu.run(deadline);
      if (!isAnswered(exit)) return exit;
    }
  };
  return {
    id: vcpu.id,
    enableCap: (capability, ...args) => vcpu.enableCap(capability, ...args),
    setCpuid2: (table) => vcpu.setCpuid2(table),
    getCpuid2: () => vcpu.getCpuid2(),
    getRegs: () => vcpu.getRegs(),
    setRegs: (regs) => vcpu.setRegs(regs),
    getSregs: () => vcpu.getSregs(),
    setSregs: (sregs) => vcpu.setSregs(sregs),
    translate: (linear) => vcpu.translate(linear),
    getState: (part) => vcpu.getState(part),
    setState: (part, bytes) => vcpu.setState(part, bytes),
    getTscKhz: () => vcpu.getTscKhz(),
    setTscKhz: (khz) => vcpu.setTscKhz(khz),
    getMsrs: (indices) => {
      const at = indices.indexOf(KVM_FOO_MSR);
      if (at < 0) return vcpu.getMsrs(indices);
      const before = vcpu.getMsrs(indices.slice(0, at));
      if (before.length < at) return before;
      return [...before, { index: KVM_FOO_MSR, value: foo }, ...vcpu.getMsrs(indices.slice(at + 1))];
    },
    setMsrs: (values) => {
      const at = values.findIndex(({ index }) => index === KVM_FOO_MSR);
      if (at < 0) return vcpu.setMsrs(values);
      const before = vcpu.setMsrs(values.slice(0, at));
      if (before < at) return before;
      foo = values[at]!.value;
      return at + 1 + vcpu.setMsrs(values.slice(at + 1));
    },
    dropStrayReads: () => vcpu.dropStrayReads(),
    run,
    settle: () => vcpu.settle(),
    launch: () => vcpu.launch(),
    landed: () => {
      const exit = vcpu.landed();
      if (exit === null || !isAnswered(exit)) return exit;
      vcpu.launch();
      return null;
    },
    kick: () => vcpu.kick(),
    land: () => {
      const exit = vcpu.land();
      return isAnswered(exit) ? { reason: 'interrupted' } : exit;
    },
    [Symbol.dispose]: () => vcpu[Symbol.dispose](),
  };
}
