/** The C library's calls that Node does not offer: ioctl, mmap, and a timer that interrupts one thread. */
import koffi from 'koffi';
import { IOCTL, type IoctlName } from './ioctl.js';
import { KvmError } from './kvm-error.js';

const EINTR = 4;
const ENXIO = 6;

const libc = koffi.load('libc.so.6');
// Two bindings of one function: the variadic form is slower than either.
const ioctlNumber = libc.func('ioctl', 'int', ['int', 'ulong', 'uint64_t']);
const ioctlBytes = libc.func('ioctl', 'int', ['int', 'ulong', 'void *']);
const mmap = libc.func('mmap', 'uint64_t', ['uint64_t', 'size_t', 'int', 'int', 'int', 'int64_t']);
const munmap = libc.func('munmap', 'int', ['uint64_t', 'size_t']);
const lseek = libc.func('lseek', 'int64_t', ['int', 'int64_t', 'int']);
const madvise = libc.func('madvise', 'int', ['uint64_t', 'size_t', 'int']);

/** errno of the last call made through this file. */
export const lastErrno = (): number => koffi.errno();

/** An ioctl whose result may be a failure: -1, with `lastErrno`. */
export const tryIoctl = (fd: number, name: IoctlName, arg: number | Uint8Array = 0): number =>
  typeof arg === 'number' ? ioctlNumber(fd, IOCTL[name], arg) : ioctlBytes(fd, IOCTL[name], arg);

/** An ioctl that must succeed; again where a signal came in between (KVM_CREATE_VM waits for a kernel thread). Throws `KvmError` naming it. */
export function ioctl(fd: number, name: IoctlName, arg: number | Uint8Array = 0): number {
  for (;;) {
    const result = tryIoctl(fd, name, arg);
    if (result >= 0) return result;
    const errno = lastErrno();
    if (errno !== EINTR) throw new KvmError(name, errno);
  }
}

/** Memory mapped into this process. Its bytes must not be touched after `unmap`: the process would die. */
export interface Mapping {
  readonly address: number | bigint;
  readonly bytes: Uint8Array;
}

const PROT_READ_WRITE = 0x1 | 0x2;
const PROT_EXEC = 0x4;
const MAP_SHARED = 0x01;
const MAP_PRIVATE_NORESERVE = 0x02 | 0x4000;
const MAP_PRIVATE_ANONYMOUS_NORESERVE = MAP_PRIVATE_NORESERVE | 0x20;
const MADV_DONTNEED = 4;

function map(length: number, protection: number, flags: number, fd: number, offset = 0): Mapping {
  const address: number | bigint = mmap(0, length, protection, flags, fd, offset);
  // MAP_FAILED is the only address in the last page.
  if (BigInt(address) > 0xffff_ffff_ffff_f000n) throw new KvmError(`mmap of ${length} bytes`, lastErrno());
  return { address, bytes: new Uint8Array(koffi.view(address, length)) };
}

/** Zeroed private memory. Throws `KvmError`. */
export const mapAnonymous = (length: number): Mapping =>
  map(length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS_NORESERVE, -1);

/** A file's first `length` bytes, shared. Throws `KvmError`. */
export const mapFile = (fd: number, length: number): Mapping => map(length, PROT_READ_WRITE, MAP_SHARED, fd);

/** A page of machine code. Throws `KvmError`. */
export function mapCode(code: Uint8Array): Mapping {
  const mapping = map(4096, PROT_READ_WRITE | PROT_EXEC, MAP_PRIVATE_ANONYMOUS_NORESERVE, -1);
  mapping.bytes.set(code);
  return mapping;
}

/** `length` bytes of a file from `offset` (a multiple of 4096), copied where they are written to: the file stays as it is. Throws `KvmError`. */
export const mapPrivately = (fd: number, offset: number, length: number): Mapping =>
  map(length, PROT_READ_WRITE, MAP_PRIVATE_NORESERVE, fd, offset);

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/**
 * The next range of a file, at or behind `from`, that is not a hole; null where only a hole is left. A file system without holes gives
 * all that is left. Moves the descriptor's position. Throws `KvmError`.
 */
export function nextData(fd: number, from: number): { readonly start: number; readonly end: number } | null {
  const start = Number(lseek(fd, from, SEEK_DATA));
  if (start < 0) {
    if (lastErrno() === ENXIO) return null;
    throw new KvmError('lseek(SEEK_DATA)', lastErrno());
  }
  return { start, end: Number(lseek(fd, start, SEEK_HOLE)) };
}

export function unmap(mapping: Mapping): void {
  munmap(mapping.address, mapping.bytes.length);
}

/** Gives the pages of an anonymous mapping back: they read as zeros again. Throws `KvmError`. */
export function clear(mapping: Mapping): void {
  if (madvise(mapping.address, mapping.bytes.length, MADV_DONTNEED) < 0) throw new KvmError('madvise', lastErrno());
}
