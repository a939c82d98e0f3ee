/**
 * KVM as the monitor sees it: three small interfaces whose arguments and results are data. Their makers are the real /dev/kvm
 * (`openKvm`), a capture played back, an overlay of the two, and `inject` for faults in tests: nothing above this file knows which.
 *
 * Every method throws `KvmError` where the kernel refuses, naming the ioctl and the errno. Whoever makes an object disposes it;
 * disposing a `Vm` disposes its vCPUs and memory, disposing a `Kvm` its VMs.
 */
import type { CpuidTable } from '../../corpora/cpuid.js';
import type { HostFacts } from '../../corpora/host-capabilities.js';
import type { MsrValue } from '../../corpora/identity.js';
import type { Capability } from './capability.js';
import type { VcpuExit } from './exit.js';
import type { GuestMemory } from './guest-memory.js';
import type { Regs, Sregs } from './registers.js';

/** /dev/kvm. */
export interface Kvm extends Disposable {
  readonly facts: HostFacts;
  /** KVM_CHECK_EXTENSION on the system; 0 = not offered. Ask a `Vm` where the answer may depend on it. */
  checkExtension(capability: Capability): number;
  /** KVM_GET_SUPPORTED_CPUID. */
  supportedCpuid(): CpuidTable;
  /** KVM_GET_EMULATED_CPUID. */
  emulatedCpuid(): CpuidTable;
  /** The CPU's own leaves, as CPUID in this process answers. */
  hostCpuid(): CpuidTable;
  /** KVM_GET_MSR_INDEX_LIST. */
  msrIndices(): readonly number[];
  /** KVM_GET_MSR_FEATURE_INDEX_LIST with values; those that cannot be read are left out. */
  featureMsrs(): readonly MsrValue[];
  /** KVM_CREATE_VM. */
  createVm(): Vm;
}

/** A range of guest-physical memory to be made: `gpa` and `bytes` are multiples of 4096. */
export interface MemoryRange {
  readonly gpa: number;
  readonly bytes: number;
  /** The guest cannot write it (KVM_MEM_READONLY). */
  readonly readOnly?: boolean;
  /** What it holds at first; default zeros. */
  readonly image?: MemoryImage;
}

/** Bytes of a file, mapped privately: read when they are touched, and the file stays as it is. The descriptor may be closed after. */
export interface MemoryImage {
  readonly fd: number;
  /** A multiple of 4096. */
  readonly offset: number;
}

/** One rule of KVM_X86_SET_MSR_FILTER: the MSRs `base`.. of which `allowed[i]` is true may be accessed. */
export interface MsrFilterRange {
  readonly base: number;
  readonly allowed: readonly boolean[];
  readonly access: 'read' | 'write' | 'read-write';
}

export interface MsrFilter {
  /** What happens to an MSR in no range. */
  readonly byDefault: 'allow' | 'deny';
  /** At most 16. */
  readonly ranges: readonly MsrFilterRange[];
}

/** The log of written pages of one memory region. */
export interface DirtyLog extends Disposable {
  /**
   * The pages written since the last call, one bit each, lowest first; all pages at the first call. From here on a write to any of them is
   * noted again, so whoever copies a page after this call misses nothing. Valid until the next call.
   */
  take(): Uint8Array;
}

/** KVM_GET_CLOCK. */
export interface VmClock {
  /** kvmclock in nanoseconds. */
  readonly clock: bigint;
  readonly flags: number;
  /** CLOCK_REALTIME in nanoseconds and the host's TSC at that time, where `flags` say that they are valid. */
  readonly realtime: bigint;
  readonly hostTsc: bigint;
}

export interface Vm extends Disposable {
  /** KVM_CHECK_EXTENSION on this VM; 0 = not offered. */
  checkExtension(capability: Capability): number;
  /** KVM_ENABLE_CAP. `KVM_CAP_SPLIT_IRQCHIP` must come before the first vCPU. */
  enableCap(capability: Capability, ...args: readonly bigint[]): void;
  /** Makes guest memory of these ranges (private; anonymous where it has no image) and gives it to KVM. Once per VM. */
  createMemory(ranges: readonly MemoryRange[]): GuestMemory;
  /**
   * Has KVM note which pages of the memory region at `gpa` are written from now on, by the guest or by itself; what the monitor writes is
   * not noted. One log of a region at a time. Disposing it ends the log.
   */
  openDirtyLog(gpa: number): DirtyLog;
  /** KVM_CREATE_VCPU. `id` is the APIC id. */
  createVcpu(id: number): Vcpu;
  getClock(): VmClock;
  setClock(clock: VmClock): void;
  /** KVM_X86_SET_MSR_FILTER. */
  setMsrFilter(filter: MsrFilter): void;
}

/**
 * Parts of a vCPU's state that travel as the kernel's own structs (arch/x86 `asm/kvm.h`): its ABI keeps their layout. `xsave` is
 * `KVM_CAP_XSAVE2` bytes long where that is offered, otherwise 4096.
 */
export const STATE_PARTS = [
  'regs',
  'sregs',
  'fpu',
  'xsave',
  'xcrs',
  'debugregs',
  'lapic',
  'events',
  'mp-state',
] as const;
export type StatePart = (typeof STATE_PARTS)[number];

export interface Vcpu extends Disposable {
  /** The APIC id. */
  readonly id: number;
  /** KVM_ENABLE_CAP of this vCPU. */
  enableCap(capability: Capability, ...args: readonly bigint[]): void;
  /** KVM_SET_CPUID2. Rows with a `subleaf` are marked as indexed. */
  setCpuid2(table: CpuidTable): void;
  /** KVM_GET_CPUID2: the whole table as KVM now holds it, whatever was set. */
  getCpuid2(): CpuidTable;
  getRegs(): Regs;
  setRegs(regs: Regs): void;
  getSregs(): Sregs;
  setSregs(sregs: Sregs): void;
  /** KVM_TRANSLATE: where in guest-physical memory a linear address is now; null where it is nowhere. */
  translate(linear: bigint): bigint | null;
  /** The bytes of one part, newly allocated. */
  getState(part: StatePart): Uint8Array;
  setState(part: StatePart, bytes: Uint8Array): void;
  /** KVM_GET_TSC_KHZ. */
  getTscKhz(): number;
  /** KVM_SET_TSC_KHZ. */
  setTscKhz(khz: number): void;
  /** KVM_GET_MSRS: values of the first MSRs of `indices`, up to the first that KVM would not read; shorter = refused there. */
  getMsrs(indices: readonly number[]): readonly MsrValue[];
  /** KVM_SET_MSRS: how many were set, in order; fewer than given = the one at that place was refused. */
  setMsrs(values: readonly MsrValue[]): number;
  /** For a guest whose filter denies reads of EFER: a KVM_RUN that is interrupted leaves nothing for the next to finish (Linux before 5.18). */
  dropStrayReads(): void;
  /**
   * KVM_RUN until the guest exits to us, a signal comes, or `deadline` (milliseconds, as `performance.now()` counts) has passed.
   * The exit is valid until the next call. Answers to `in`, MMIO reads and MSR exits are written into the exit.
   */
  run(deadline: number): VcpuExit;
  /**
   * Finishes the access of the last exit without letting the guest run on: before it, registers are in the middle of an instruction, so
   * state is neither complete nor settable. Gives the next exit where the instruction has more (a string), to be handled and settled too.
   */
  settle(): VcpuExit | null;
  /**
   * Begins KVM_RUN on a thread of its own (vcpu-threads.ts) and comes back at once. Until it has landed no other method but `landed`,
   * `kick` and `land` may be called.
   */
  launch(): void;
  /** What the launch ended in, valid until the next; null while it runs. */
  landed(): VcpuExit | null;
  /** Has a vCPU that was launched land soon: with `interrupted`, where the guest did not exit before. */
  kick(): void;
  /** Waits until it has landed. Precondition: kicked. */
  land(): VcpuExit;
}
