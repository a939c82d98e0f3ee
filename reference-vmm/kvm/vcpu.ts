/** A vCPU of the real KVM. */
import { closeSync } from 'node:fs';
import type { CpuidTable } from '../../corpora/cpuid.js';
import type { MsrValue } from '../../corpora/identity.js';
import type { Capability } from './capability.js';
import {
  decodeCpuid2,
  decodeMsrs,
  decodeRegs,
  decodeSregs,
  emptyCpuid2,
  encodeCpuid2,
  encodeEnableCap,
  encodeMsrs,
  encodeRegs,
  encodeSregs,
} from './codec.js';
import type { VcpuExit } from './exit.js';
import type { IoctlName } from './ioctl.js';
import type { StatePart, Vcpu } from './kvm.js';
import { errnoName, KvmError } from './kvm-error.js';
import { LAYOUT } from './layout.js';
import { ioctl, lastErrno, type Mapping, mapFile, tryIoctl, unmap } from './libc.ffi.js';
import type { Regs, Sregs } from './registers.js';
import { RunPage } from './run.js';
import type { RunTimer } from './run-timer.ffi.js';
import { VcpuThread } from './vcpu-threads.js';

const STATE_IOCTLS: Readonly<Record<StatePart, readonly [get: IoctlName, set: IoctlName, size: number]>> = {
  regs: ['KVM_GET_REGS', 'KVM_SET_REGS', LAYOUT.kvm_regs.size],
  sregs: ['KVM_GET_SREGS', 'KVM_SET_SREGS', LAYOUT.kvm_sregs.size],
  fpu: ['KVM_GET_FPU', 'KVM_SET_FPU', LAYOUT.kvm_fpu.size],
  xsave: ['KVM_GET_XSAVE', 'KVM_SET_XSAVE', LAYOUT.kvm_xsave.size],
  xcrs: ['KVM_GET_XCRS', 'KVM_SET_XCRS', LAYOUT.kvm_xcrs.size],
  debugregs: ['KVM_GET_DEBUGREGS', 'KVM_SET_DEBUGREGS', LAYOUT.kvm_debugregs.size],
  lapic: ['KVM_GET_LAPIC', 'KVM_SET_LAPIC', LAYOUT.kvm_lapic_state.size],
  events: ['KVM_GET_VCPU_EVENTS', 'KVM_SET_VCPU_EVENTS', LAYOUT.kvm_vcpu_events.size],
  'mp-state': ['KVM_GET_MP_STATE', 'KVM_SET_MP_STATE', LAYOUT.kvm_mp_state.size],
};

/** MAX_IO_MSRS of arch/x86/kvm/x86.c is 256, and as many are already too many. */
const MSRS_PER_CALL = 255;

export interface VcpuOptions {
  readonly fd: number;
  readonly id: number;
  /** KVM_GET_VCPU_MMAP_SIZE. */
  readonly runBytes: number;
  /** KVM_CAP_XSAVE2; 0 = not offered. */
  readonly xsave2Bytes: number;
  readonly timer: RunTimer;
}

export class RealVcpu implements Vcpu {
  readonly id: number;
  readonly #fd: number;
  readonly #mapping: Mapping;
  readonly #page: RunPage;
  readonly #timer: RunTimer;
  readonly #xsave2Bytes: number;
  #thread: VcpuThread | null = null;
  #flying = false;
  #open = true;
  #hasStrayReads = false;

  /** Owns `fd` from here on, also where it throws `KvmError`. */
  constructor({ fd, id, runBytes, xsave2Bytes, timer }: VcpuOptions) {
    this.id = id;
    this.#fd = fd;
    this.#timer = timer;
    this.#xsave2Bytes = xsave2Bytes;
    let mapping: Mapping | undefined;
    try {
      mapping = mapFile(fd, runBytes);
      ioctl(fd, 'KVM_SET_SIGNAL_MASK', signalMask(timer.runMask));
    } catch (error) {
      if (mapping) unmap(mapping);
      closeSync(fd);
      throw error;
    }
    this.#mapping = mapping;
    this.#page = new RunPage(mapping.bytes);
  }

  enableCap(capability: Capability, ...args: readonly bigint[]): void {
    ioctl(this.#fd, 'KVM_ENABLE_CAP', encodeEnableCap(capability, args));
  }

  setCpuid2(table: CpuidTable): void {
    ioctl(this.#fd, 'KVM_SET_CPUID2', encodeCpuid2(table));
  }

  getCpuid2(): CpuidTable {
    const bytes = emptyCpuid2();
    ioctl(this.#fd, 'KVM_GET_CPUID2', bytes);
    return decodeCpuid2(bytes);
  }

  getRegs(): Regs {
    return decodeRegs(this.getState('regs'));
  }

  setRegs(regs: Regs): void {
    this.setState('regs', encodeRegs(regs));
  }

  getSregs(): Sregs {
    return decodeSregs(this.getState('sregs'));
  }

  setSregs(sregs: Sregs): void {
    this.setState('sregs', encodeSregs(sregs));
  }

  translate(linear: bigint): bigint | null {
    const { size, offsets } = LAYOUT.kvm_translation;
    const bytes = new Uint8Array(size);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(offsets.linear_address, linear, true);
    ioctl(this.#fd, 'KVM_TRANSLATE', bytes);
    return view.getUint8(offsets.valid) ? view.getBigUint64(offsets.physical_address, true) : null;
  }

  getState(part: StatePart): Uint8Array {
    const [get, , size] = STATE_IOCTLS[part];
    const wide = part === 'xsave' && this.#xsave2Bytes > 0;
    const bytes = new Uint8Array(wide ? this.#xsave2Bytes : size);
    ioctl(this.#fd, wide ? 'KVM_GET_XSAVE2' : get, bytes);
    return bytes;
  }

  setState(part: StatePart, bytes: Uint8Array): void {
    const [, set, size] = STATE_IOCTLS[part];
    const wanted = part === 'xsave' && this.#xsave2Bytes > 0 ? this.#xsave2Bytes : size;
    // The kernel reads `wanted` bytes whatever we pass.
    if (bytes.length !== wanted) throw new KvmStateSize(set, wanted, bytes.length);
    ioctl(this.#fd, set, bytes);
  }

  getTscKhz(): number {
    return ioctl(this.#fd, 'KVM_GET_TSC_KHZ');
  }

  setTscKhz(khz: number): void {
    ioctl(this.#fd, 'KVM_SET_TSC_KHZ', khz);
  }

  getMsrs(indices: readonly number[]): MsrValue[] {
    const values: MsrValue[] = [];
    for (let at = 0; at < indices.length; at += MSRS_PER_CALL) {
      const asked = indices.slice(at, at + MSRS_PER_CALL);
      const bytes = encodeMsrs(asked.map((index) => ({ index, value: 0n })));
      const done = ioctl(this.#fd, 'KVM_GET_MSRS', bytes);
      values.push(...decodeMsrs(bytes, done));
      if (done < asked.length) break;
    }
    return values;
  }

  setMsrs(values: readonly MsrValue[]): number {
    let done = 0;
    while (done < values.length) {
      const asked = values.slice(done, done + MSRS_PER_CALL);
      const count = ioctl(this.#fd, 'KVM_SET_MSRS', encodeMsrs(asked));
      done += count;
      if (count < asked.length) break;
    }
    return done;
  }

  run(deadline: number): VcpuExit {
    for (;;) {
      // So written that NaN ends at once instead of never.
      if (!(performance.now() < deadline)) return { reason: 'timeout' };
      this.#timer.arm(deadline);
      if (tryIoctl(this.#fd, 'KVM_RUN') >= 0) return this.#page.exit();
      const errno = lastErrno();
      const name = errnoName(errno);
      if (name !== 'EINTR' && name !== 'EAGAIN') throw new KvmError('KVM_RUN', errno);
      if (name === 'EINTR') this.#dropStrayRead();
      // Our own signal is the deadline's, or was left over from one that no run waited for.
      if (name === 'EINTR' && !this.#timer.consume()) return { reason: 'interrupted' };
    }
  }

  settle(): VcpuExit | null {
    const errno = this.#finish();
    if (errno === 0) return this.#page.exit();
    if (errnoName(errno) !== 'EINTR') throw new KvmError('KVM_RUN', errno);
    return null;
  }

  /** KVM_RUN that only finishes what is pending; gives its errno. */
  #finish(): number {
    this.#page.immediateExit = true;
    const errno = tryIoctl(this.#fd, 'KVM_RUN') >= 0 ? 0 : lastErrno();
    this.#page.immediateExit = false;
    return errno;
  }

  dropStrayReads(): void {
    this.#hasStrayReads = true;
  }

  /**
   * Before Linux 5.18 (ac8d6cad3c7b) KVM's emulator asked the MSR filter too when it looked at EFER for a write to CR0 or CR4, let nobody know, and finished
   * that read as the guest's own at the next KVM_RUN: RAX and RDX became 0 and one instruction was left out. An exit that waits for an answer replaces
   * it; a signal does not. Precondition: a signal ended the last KVM_RUN, so nothing of the guest's is pending.
   */
  #dropStrayRead(): void {
    if (!this.#hasStrayReads) return;
    const [regs, events] = [this.getState('regs'), this.getState('events')];
    this.#finish();
    if (Buffer.compare(regs, this.getState('regs')) === 0) return;
    this.setState('regs', regs);
    this.setState('events', events);
  }

  launch(): void {
    this.#thread ??= VcpuThread.take();
    this.#flying = true;
    this.#thread.launch(this.#fd);
  }

  landed(): VcpuExit | null {
    const errno = this.#thread!.landed();
    return errno === null ? null : this.#exitOf(errno);
  }

  kick(): void {
    this.#thread!.kick();
  }

  land(): VcpuExit {
    return this.#exitOf(this.#thread!.land());
  }

  #exitOf(errno: number): VcpuExit {
    this.#flying = false;
    if (errno === 0) return this.#page.exit();
    if (errnoName(errno) !== 'EINTR') throw new KvmError('KVM_RUN', errno);
    this.#dropStrayRead();
    return { reason: 'interrupted' };
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    if (this.#flying) {
      this.#thread!.kick();
      this.#thread!.land();
    }
    this.#thread?.give();
    unmap(this.#mapping);
    closeSync(this.#fd);
  }
}

/** A part of the state has another size than this kernel's: it is from a kernel with other XSAVE components. */
class KvmStateSize extends KvmError {
  constructor(call: string, wanted: number, given: number) {
    super(call, EINVAL, `this kernel takes ${wanted} bytes, given ${given}`);
  }
}
const EINVAL = 22;

/** `struct kvm_signal_mask`: its length is that of the kernel's own signal set. */
function signalMask(set: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(LAYOUT.kvm_signal_mask.size + set.length);
  bytes[0] = set.length;
  bytes.set(set, LAYOUT.kvm_signal_mask.offsets.sigset);
  return bytes;
}
