/** KVM's dirty log as a bitmap (KVM_GET_DIRTY_LOG), protected again by hand where the kernel offers it. */
import type { DirtyLog } from './kvm.js';
import { LAYOUT } from './layout.js';
import { ioctl, type Mapping, mapAnonymous, unmap } from './libc.ffi.js';

export interface BitmapDirtyLogOptions {
  /** The VM's. */
  readonly fd: number;
  readonly slot: number;
  /** Of the slot. */
  readonly pages: number;
  /** KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 is enabled: reading leaves pages writable, and KVM_CLEAR_DIRTY_LOG protects them. */
  readonly manual: boolean;
  /** Sets or clears KVM_MEM_LOG_DIRTY_PAGES of the slot. */
  readonly setLogging: (on: boolean) => void;
}

export class BitmapDirtyLog implements DirtyLog {
  readonly #options: BitmapDirtyLogOptions;
  readonly #bitmap: Mapping;
  readonly #get: Uint8Array;
  readonly #clear: Uint8Array;
  #first = true;
  #open = true;

  /** Throws `KvmError`. */
  constructor(options: BitmapDirtyLogOptions) {
    this.#options = options;
    // The kernel writes whole 64-bit words.
    this.#bitmap = mapAnonymous(Math.ceil(options.pages / 64) * 8);
    this.#get = request('kvm_dirty_log', options, this.#bitmap);
    this.#clear = request('kvm_clear_dirty_log', options, this.#bitmap);
    try {
      options.setLogging(true);
    } catch (error) {
      unmap(this.#bitmap);
      throw error;
    }
  }

  take(): Uint8Array {
    const { fd, manual } = this.#options;
    ioctl(fd, 'KVM_GET_DIRTY_LOG', this.#get);
    if (manual) ioctl(fd, 'KVM_CLEAR_DIRTY_LOG', this.#clear);
    // Without KVM_DIRTY_LOG_INITIALLY_SET the kernel begins with none, all of them protected.
    if (this.#first) this.#bitmap.bytes.fill(0xff);
    this.#first = false;
    return this.#bitmap.bytes;
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#options.setLogging(false);
    unmap(this.#bitmap);
  }
}

function request(
  struct: 'kvm_dirty_log' | 'kvm_clear_dirty_log',
  { slot, pages }: BitmapDirtyLogOptions,
  bitmap: Mapping,
): Uint8Array {
  const bytes = new Uint8Array(LAYOUT[struct].size);
  const view = new DataView(bytes.buffer);
  view.setUint32(LAYOUT[struct].offsets.slot, slot, true);
  // From page 0 to the end of the slot: the one count that need not be a multiple of 64.
  if (struct === 'kvm_clear_dirty_log') view.setUint32(LAYOUT.kvm_clear_dirty_log.offsets.num_pages, pages, true);
  view.setBigUint64(LAYOUT[struct].offsets.dirty_bitmap, BigInt(bitmap.address), true);
  return bytes;
}
