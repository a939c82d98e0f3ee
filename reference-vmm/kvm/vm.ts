/** A VM of the real KVM. */
import { closeSync } from 'node:fs';
import { CAPABILITIES, type Capability } from './capability.js';
import { decodeClock, encodeClock, encodeEnableCap } from './codec.js';
import { BitmapDirtyLog } from './dirty-log.js';
import { GuestMemory } from './guest-memory.js';
import { KVM } from './ioctl.js';
import type { DirtyLog, MemoryRange, MsrFilter, Vcpu, Vm, VmClock } from './kvm.js';
import { LAYOUT } from './layout.js';
import { ioctl, type Mapping, mapPrivately, unmap } from './libc.ffi.js';
import type { MappingPool } from './mapping-pool.js';
import type { RunTimer } from './run-timer.ffi.js';
import { RealVcpu } from './vcpu.js';

/** Where KVM on Intel hardware may put its three TSS pages and its identity map: below the ROM, where no RAM is. */
const TSS_ADDRESS = 0xfffb_d000;
const IDENTITY_MAP_ADDRESS = 0xfffb_c000n;
const PAGE_BYTES = 4096;

export interface VmOptions {
  readonly fd: number;
  readonly runBytes: number;
  readonly timer: RunTimer;
  readonly pool: MappingPool;
  /** Called once, when the VM is disposed. */
  readonly onDispose: (vm: RealVm) => void;
}

export class RealVm implements Vm {
  readonly #options: VmOptions;
  readonly #fd: number;
  readonly #vcpus: RealVcpu[] = [];
  readonly #mappings: Mapping[] = [];
  readonly #imageMappings: Mapping[] = [];
  #memory = new GuestMemory([]);
  #open = true;

  /** Owns `options.fd` from here on, also where it throws `KvmError`. */
  constructor(options: VmOptions) {
    this.#options = options;
    this.#fd = options.fd;
    try {
      if (this.checkExtension('KVM_CAP_SET_TSS_ADDR')) ioctl(this.#fd, 'KVM_SET_TSS_ADDR', TSS_ADDRESS);
      if (this.checkExtension('KVM_CAP_SET_IDENTITY_MAP_ADDR'))
        ioctl(this.#fd, 'KVM_SET_IDENTITY_MAP_ADDR', new Uint8Array(BigUint64Array.of(IDENTITY_MAP_ADDRESS).buffer));
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
  }

  checkExtension(capability: Capability): number {
    return ioctl(this.#fd, 'KVM_CHECK_EXTENSION', CAPABILITIES[capability]);
  }

  enableCap(capability: Capability, ...args: readonly bigint[]): void {
    ioctl(this.#fd, 'KVM_ENABLE_CAP', encodeEnableCap(capability, args));
  }

  createMemory(ranges: readonly MemoryRange[]): GuestMemory {
    this.#memory = new GuestMemory(
      ranges.map(({ gpa, bytes, readOnly = false, image }, slot) => {
        const mapping = image ? mapPrivately(image.fd, image.offset, bytes) : this.#options.pool.take(bytes);
        (image ? this.#imageMappings : this.#mappings).push(mapping);
        this.#setRegion(slot, gpa, mapping, readOnly ? KVM.KVM_MEM_READONLY : 0);
        return {
          gpa,
          bytes: mapping.bytes,
          readOnly,
          hostAddress: BigInt(mapping.address),
          hasImage: image !== undefined,
        };
      }),
    );
    return this.#memory;
  }

  openDirtyLog(gpa: number): DirtyLog {
    const slot = this.#memory.regions.findIndex((region) => region.gpa === gpa);
    const { hostAddress: address, bytes } = this.#memory.regions[slot]!;
    const setLogging = (on: boolean): void => {
      if (this.#open) this.#setRegion(slot, gpa, { address, bytes }, on ? KVM.KVM_MEM_LOG_DIRTY_PAGES : 0);
    };
    const manual = BigInt(this.checkExtension('KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2'));
    if (manual) this.enableCap('KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2', manual);
    return new BitmapDirtyLog({
      fd: this.#fd,
      slot,
      pages: bytes.length / PAGE_BYTES,
      manual: manual > 0n,
      setLogging,
    });
  }

  #setRegion(slot: number, gpa: number, mapping: Mapping, flags: number): void {
    const { size, offsets } = LAYOUT.kvm_userspace_memory_region;
    const bytes = new Uint8Array(size);
    const view = new DataView(bytes.buffer);
    view.setUint32(offsets.slot, slot, true);
    view.setUint32(offsets.flags, flags, true);
    view.setBigUint64(offsets.guest_phys_addr, BigInt(gpa), true);
    view.setBigUint64(offsets.memory_size, BigInt(mapping.bytes.length), true);
    view.setBigUint64(offsets.userspace_addr, BigInt(mapping.address), true);
    ioctl(this.#fd, 'KVM_SET_USER_MEMORY_REGION', bytes);
  }

  createVcpu(id: number): Vcpu {
    const vcpu = new RealVcpu({
      fd: ioctl(this.#fd, 'KVM_CREATE_VCPU', id),
      id,
      runBytes: this.#options.runBytes,
      xsave2Bytes: this.checkExtension('KVM_CAP_XSAVE2'),
      timer: this.#options.timer,
    });
    this.#vcpus.push(vcpu);
    return vcpu;
  }

  getClock(): VmClock {
    const bytes = new Uint8Array(LAYOUT.kvm_clock_data.size);
    ioctl(this.#fd, 'KVM_GET_CLOCK', bytes);
    return decodeClock(bytes);
  }

  setClock(clock: VmClock): void {
    ioctl(this.#fd, 'KVM_SET_CLOCK', encodeClock(clock));
  }

  setMsrFilter(filter: MsrFilter): void {
    // The kernel copies the bitmaps from our memory: they have to stand at an address. Always as much of it, so that the pool has it again.
    const store = this.#options.pool.take(FILTER_BYTES);
    try {
      ioctl(this.#fd, 'KVM_X86_SET_MSR_FILTER', encodeMsrFilter(filter, store));
    } finally {
      this.#options.pool.give(store);
    }
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#memory.drop();
    for (const vcpu of this.#vcpus) vcpu[Symbol.dispose]();
    closeSync(this.#fd);
    // Only now: as long as the VM lives, KVM may still write to its memory.
    for (const mapping of this.#mappings) this.#options.pool.give(mapping);
    for (const mapping of this.#imageMappings) unmap(mapping);
    this.#options.onDispose(this);
  }
}

/** One bit for each MSR, in 64-bit words; a set bit allows. */
function bitmapOf(allowed: readonly boolean[]): Uint8Array {
  const bitmap = new Uint8Array(Math.ceil(allowed.length / 64) * 8);
  allowed.forEach((bit, i) => {
    if (bit) bitmap[i >> 3]! |= 1 << (i & 7);
  });
  return bitmap;
}

const FILTER_ACCESS = {
  read: KVM.KVM_MSR_FILTER_READ,
  write: KVM.KVM_MSR_FILTER_WRITE,
  'read-write': KVM.KVM_MSR_FILTER_READ | KVM.KVM_MSR_FILTER_WRITE,
} as const;

/** Bitmaps of as many ranges as KVM takes, each as large as it takes them (KVM_MSR_FILTER_MAX_BITMAP_SIZE). */
const FILTER_BYTES = KVM.KVM_MSR_FILTER_MAX_RANGES * 0x600;

function encodeMsrFilter(filter: MsrFilter, store: Mapping): Uint8Array {
  if (filter.ranges.length > KVM.KVM_MSR_FILTER_MAX_RANGES)
    throw new RangeError(`${filter.ranges.length} MSR filter ranges, KVM takes ${KVM.KVM_MSR_FILTER_MAX_RANGES}`);
  const bytes = new Uint8Array(LAYOUT.kvm_msr_filter.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, filter.byDefault === 'deny' ? KVM.KVM_MSR_FILTER_DEFAULT_DENY : 0, true);
  const { size, offsets } = LAYOUT.kvm_msr_filter_range;
  let used = 0;
  filter.ranges.forEach(({ base, allowed, access }, i) => {
    const at = LAYOUT.kvm_msr_filter.offsets.ranges + i * size;
    const bitmap = bitmapOf(allowed);
    store.bytes.set(bitmap, used);
    view.setUint32(at + offsets.flags, FILTER_ACCESS[access], true);
    view.setUint32(at + offsets.nmsrs, allowed.length, true);
    view.setUint32(at + offsets.base, base, true);
    view.setBigUint64(at + offsets.bitmap, BigInt(store.address) + BigInt(used), true);
    used += bitmap.length;
  });
  return bytes;
}
