/**
 * Write protection of guest RAM by userfaultfd (`linux/userfaultfd.h`): a vCPU that writes to a protected page waits in the kernel until
 * another thread lifts the protection. Every method may be called on any thread of the process; the descriptor is shared.
 */
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';
import { MachineError } from '../../corpora/errors.js';
import { errnoName, KvmError } from './kvm-error.js';
import { lastErrno } from './libc.ffi.js';

const libc = koffi.load('libc.so.6');
const syscall = libc.func('syscall', 'long', ['long', 'long']);
const ioctlBytes = libc.func('ioctl', 'int', ['int', 'ulong', 'void *']);
const ioctlNumber = libc.func('ioctl', 'int', ['int', 'ulong', 'uint64_t']);
const readBytes = libc.func('read', 'int64_t', ['int', 'void *', 'size_t']);
const poll = libc.func('poll', 'int', ['void *', 'ulong', 'int']);
const madvise = libc.func('madvise', 'int', ['uint64_t', 'size_t', 'int']);

const SYS_USERFAULTFD = 323;
const O_CLOEXEC_NONBLOCK = 0o2000000 | 0o4000;
const UFFD_API = 0xaa;
const FEATURE_PAGEFAULT_FLAG_WP = 1n;
const REGISTER_MODE_WP = 2n;
const WRITEPROTECT_MODE_WP = 1n;
/** Bit of `uffdio_register.ioctls`: this memory can be protected. */
const CAN_WRITEPROTECT = 1n << 6n;
const POLLIN = 1;
const EVENT_PAGEFAULT = 0x12;
const MADV_POPULATE_READ = 22;
const PAGE = 4096;
const EINVAL = 22;

/** Numbers as `linux/userfaultfd.h` makes them; `USERFAULTFD_IOC_NEW` is /dev/userfaultfd's. */
export const UFFDIO = {
  USERFAULTFD_IOC_NEW: 0xaa00,
  UFFDIO_API: 0xc018aa3f,
  UFFDIO_REGISTER: 0xc020aa00,
  UFFDIO_UNREGISTER: 0x8010aa01,
  UFFDIO_WRITEPROTECT: 0xc018aa06,
} as const;

/** A range of this process's memory; both are multiples of 4096. */
export interface HostRange {
  readonly address: bigint;
  readonly bytes: number;
}

/** Pages of one message each; more wait for the next call. */
const MESSAGES = 64;
const MESSAGE_BYTES = 32;

/** The protection of one range, which it was registered for. Disposing lifts all of it and lets waiting threads go on. */
export class WriteProtection implements Disposable {
  readonly fd: number;
  readonly range: HostRange;
  readonly #messages = Buffer.alloc(MESSAGES * MESSAGE_BYTES);
  readonly #argument = new BigUint64Array(3);
  readonly #argumentBytes = new Uint8Array(this.#argument.buffer);

  /** Takes a descriptor that `open` made, on another thread than the one that closes it. */
  constructor(fd: number, range: HostRange) {
    this.fd = fd;
    this.range = range;
  }

  /**
   * Registers `range`; nothing is protected yet. Throws `MachineError` `userfaultfd-missing` where the kernel, its settings or this kind of
   * memory do not allow it: private anonymous memory does (since Linux 5.7), a file's mapping does not.
   */
  static open(range: HostRange): WriteProtection {
    const fd = openUserfaultfd();
    try {
      call(fd, 'UFFDIO_API', [BigInt(UFFD_API), FEATURE_PAGEFAULT_FLAG_WP, 0n]);
      const [, , , ioctls] = call(fd, 'UFFDIO_REGISTER', [range.address, BigInt(range.bytes), REGISTER_MODE_WP, 0n]);
      if (!(ioctls! & CAN_WRITEPROTECT)) throw new KvmError('UFFDIO_REGISTER', EINVAL, 'no write protection here');
    } catch (error) {
      closeSync(fd);
      throw error instanceof KvmError ? missing(error.message, error) : error;
    }
    return new WriteProtection(fd, range);
  }

  /** Protects everything. Pages that are not there stay unprotected: `populate` first. Throws `KvmError`. */
  protect(): void {
    this.#writeProtect(this.range.address, this.range.bytes, WRITEPROTECT_MODE_WP);
  }

  /** Lifts the protection of `bytes` at `offset` in the range, and wakes whoever waits for it. Throws `KvmError`. */
  lift(offset: number, bytes: number): void {
    this.#writeProtect(this.range.address + BigInt(offset), bytes, 0n);
  }

  #writeProtect(address: bigint, bytes: number, mode: bigint): void {
    this.#argument[0] = address;
    this.#argument[1] = BigInt(bytes);
    this.#argument[2] = mode;
    // EAGAIN: the process's memory map is changing (a fork); the kernel asks to try again.
    for (;;) {
      if (ioctlBytes(this.fd, UFFDIO.UFFDIO_WRITEPROTECT, this.#argumentBytes) >= 0) return;
      const errno = lastErrno();
      if (!AGAIN.has(errnoName(errno))) throw new KvmError('UFFDIO_WRITEPROTECT', errno);
    }
  }

  /** Offsets in the range of the pages whose writers wait, each once; none at once where nobody waits. Throws `KvmError`. */
  faults(): number[] {
    const read = Number(readBytes(this.fd, this.#messages, this.#messages.length));
    if (read < 0) {
      const errno = lastErrno();
      if (AGAIN.has(errnoName(errno))) return [];
      throw new KvmError('read of userfaultfd', errno);
    }
    const offsets = new Set<number>();
    for (let at = 0; at < read; at += MESSAGE_BYTES)
      if (this.#messages[at] === EVENT_PAGEFAULT) {
        const offset = Number(this.#messages.readBigUInt64LE(at + 16) - this.range.address);
        offsets.add(offset - (offset % PAGE));
      }
    return [...offsets];
  }

  /** Waits until a writer waits, at most `ms`. */
  wait(ms: number): void {
    const entry = new Uint8Array(8);
    const view = new DataView(entry.buffer);
    view.setInt32(0, this.fd, true);
    view.setInt16(4, POLLIN, true);
    poll(entry, 1, Math.ceil(ms));
  }

  [Symbol.dispose](): void {
    // Closing alone wakes whoever waits; kernels before 6.1 would leave the bits in the page tables.
    ioctlBytes(this.fd, UFFDIO.UFFDIO_UNREGISTER, argumentOf([this.range.address, BigInt(this.range.bytes)]));
    closeSync(this.fd);
  }
}

const AGAIN = new Set(['EAGAIN', 'EINTR']);

/** The bytes of a range that another thread of this process mapped; as long as it stays mapped. */
export const bytesOf = ({ address, bytes }: HostRange): Buffer => Buffer.from(koffi.view(address, bytes));

/**
 * Makes every page of the range present: the kernel's zero page where nothing was written, which takes no memory. `bytes` are the range's.
 * Throws `KvmError`.
 */
export function populate(range: HostRange, bytes: Uint8Array): void {
  if (madvise(range.address, range.bytes, MADV_POPULATE_READ) >= 0) return;
  const errno = lastErrno();
  if (errno !== EINVAL) throw new KvmError('madvise(MADV_POPULATE_READ)', errno);
  // Before Linux 5.14: reading makes a page present too.
  for (let at = 0; at < bytes.length; at += PAGE) Atomics.load(bytes, at);
}

/** By the system call, which needs CAP_SYS_PTRACE or vm.unprivileged_userfaultfd=1; or by /dev/userfaultfd (6.1), which needs its permission. */
function openUserfaultfd(): number {
  const fd = Number(syscall(SYS_USERFAULTFD, O_CLOEXEC_NONBLOCK));
  if (fd >= 0) return fd;
  const why = errnoName(lastErrno());
  const device = openDevice();
  if (device === null) throw missing(`userfaultfd: ${why}`);
  try {
    const made = ioctlNumber(device, UFFDIO.USERFAULTFD_IOC_NEW, O_CLOEXEC_NONBLOCK);
    if (made < 0) throw missing(`userfaultfd: ${why}`);
    return made;
  } finally {
    closeSync(device);
  }
}

function openDevice(): number | null {
  try {
    return openSync('/dev/userfaultfd', 'r+');
  } catch {
    return null;
  }
}

const missing = (why: string, cause?: unknown): MachineError =>
  new MachineError(
    'userfaultfd-missing',
    `a live save needs userfaultfd with write protection, and there is none for this guest (${why}): save while stopped ('vmm snapshot save --stopped', or QMP 'snapshot-save'), or allow it (root, or vm.unprivileged_userfaultfd=1)`,
    { cause },
  );

function argumentOf(words: readonly bigint[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(words).buffer);
}

function call(fd: number, name: keyof typeof UFFDIO, words: readonly bigint[]): BigUint64Array {
  const bytes = argumentOf(words);
  if (ioctlBytes(fd, UFFDIO[name], bytes) < 0) throw new KvmError(name, lastErrno());
  return new BigUint64Array(bytes.buffer);
}
