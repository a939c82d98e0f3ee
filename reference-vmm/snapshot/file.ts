/** Snapshots in files: written whole or not at all, and wholly checked before anything of them is used. */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { InputError } from '../../corpora/errors.js';
import { NewFile } from '../../corpora/write-file.js';
import { nextData } from '../kvm/libc.ffi.js';
import { ContainerError, containerLength, decodeContainer, HEADER_BYTES } from './container.js';
import { imageHead, isZeroPage, planImage, readImageSection, ZERO_CHECKSUM } from './image.js';
import {
  headSections,
  type MachineCore,
  type MachineState,
  PAGE_BYTES,
  type Page,
  readCore,
  readIdentity,
  SECTION,
} from './machine-state.js';

/** Largest guest that a snapshot or migration may bring, in bytes. */
export const MEMORY_LIMIT = 1024 * 1024 * 1024;
/** Largest container: all pages of such a guest, and room for the rest. */
export const CONTAINER_LIMIT = MEMORY_LIMIT + 64 * 1024 * 1024;
/** Largest container of a snapshot file, which holds no pages: 1 MiB of checksums, and room for the rest. */
const HEAD_LIMIT = 16 * 1024 * 1024;
/** A multiple of a page. */
const CHUNK_BYTES = 1024 * 1024;

/** Gives the file's size in bytes, of which pages of zeros take none. Throws `MachineError` `file-not-written`. */
export function writeSnapshot(file: string, state: MachineState): number {
  const plan = planImage(headSections(state), state.memoryBytes);
  const checksums = new Uint32Array(state.memoryBytes / PAGE_BYTES).fill(ZERO_CHECKSUM);
  const made = new NewFile(file);
  try {
    for (const { gpa, bytes } of state.pages) {
      checksums[gpa / PAGE_BYTES] = crc32(bytes);
      made.write(bytes, plan.ramOffset + gpa);
    }
    made.write(imageHead(plan, checksums), 0);
    ftruncateSync(made.fd, plan.fileBytes);
    made.commit();
  } finally {
    made.discard();
  }
  return plan.fileBytes;
}

/** Throws `InputError` `unreadable-file`, or `ContainerError` on a cut, changed or foreign file. */
export function readSnapshot(file: string): MachineState {
  using snapshot = new SnapshotFile(file);
  const pages: Page[] = [];
  snapshot.check((page) => pages.push(page));
  return { ...snapshot.core, pages };
}

/** An open snapshot whose container is checked; its pages are once `check` has returned. */
export class SnapshotFile implements Disposable {
  readonly core: MachineCore;
  readonly fd: number;
  /** Where the RAM begins in the file. */
  readonly ramOffset: number;
  readonly fileBytes: number;
  readonly #file: string;
  readonly #checksums: Uint32Array;

  /** Throws `InputError` `unreadable-file`, or `ContainerError` on a cut, changed or foreign file. */
  constructor(file: string) {
    this.#file = file;
    this.fd = openToRead(file);
    try {
      const { size } = fstatSync(this.fd);
      const container = this.#readContainer(size);
      const sections = decodeContainer(container, 'snapshot', file);
      const place = sections.at(-1);
      if (place?.type !== SECTION.image) throw new ContainerError(file, 'does not end with the place of the memory');
      this.core = readCore(readIdentity(sections, file), sections.slice(1, -1), file, MEMORY_LIMIT);
      const { memoryBytes } = this.core;
      const image = readImageSection(place, memoryBytes, container.length);
      if (!image) throw new ContainerError(file, 'the place of the memory is malformed');
      this.fileBytes = image.ramOffset + memoryBytes;
      if (size !== this.fileBytes)
        throw new ContainerError(
          file,
          size < this.fileBytes
            ? `cut short: ${size} bytes of ${this.fileBytes}`
            : `${size} bytes, where it says ${this.fileBytes}`,
        );
      this.ramOffset = image.ramOffset;
      this.#checksums = image.checksums;
    } catch (error) {
      closeSync(this.fd);
      throw error;
    }
  }

  /** Its header must say no more than the file has before memory is taken for it. */
  #readContainer(size: number): Buffer {
    const header = Buffer.alloc(HEADER_BYTES);
    const length = containerLength(header.subarray(0, readSync(this.fd, header)), 'snapshot', this.#file, HEAD_LIMIT);
    if (length > size) throw new ContainerError(this.#file, `cut short: ${size} bytes of at least ${length}`);
    const bytes = Buffer.alloc(length);
    this.#read(bytes, 0);
    return bytes;
  }

  /** Reads all of `bytes`. Throws `ContainerError` where the file is shorter than it was. */
  #read(bytes: Buffer, position: number): void {
    for (let done = 0; done < bytes.length; ) {
      const read = readSync(this.fd, bytes, done, bytes.length - done, position + done);
      if (read === 0) throw new ContainerError(this.#file, `cut short at byte ${position + done}`);
      done += read;
    }
  }

  /**
   * Compares every page with its checksum, and calls `found` with those that are not all zeros, in order; their bytes are the callee's. Holes are
   * not read. Throws `ContainerError` on the first page that is not as it was saved.
   */
  check(found: (page: Page) => void = () => undefined): void {
    const { memoryBytes } = this.core;
    let next = 0;
    while (next < memoryBytes) {
      const data = nextData(this.fd, this.ramOffset + next) ?? { start: this.fileBytes, end: this.fileBytes };
      const start = Math.floor(Math.max(data.start - this.ramOffset, next) / PAGE_BYTES) * PAGE_BYTES;
      const end = Math.min(Math.ceil((data.end - this.ramOffset) / PAGE_BYTES) * PAGE_BYTES, memoryBytes);
      for (; next < start; next += PAGE_BYTES) this.#expect(next, ZERO_CHECKSUM);
      for (; next < end; next += Math.min(CHUNK_BYTES, end - next))
        this.#checkChunk(next, Math.min(CHUNK_BYTES, end - next), found);
    }
  }

  #checkChunk(gpa: number, length: number, found: (page: Page) => void): void {
    const bytes = Buffer.alloc(length);
    this.#read(bytes, this.ramOffset + gpa);
    for (let at = 0; at < length; at += PAGE_BYTES) {
      const page = bytes.subarray(at, at + PAGE_BYTES);
      const checksum = crc32(page);
      this.#expect(gpa + at, checksum);
      if (checksum !== ZERO_CHECKSUM || !isZeroPage(bytes, at)) found({ gpa: gpa + at, bytes: page });
    }
  }

  #expect(gpa: number, checksum: number): void {
    if (this.#checksums[gpa / PAGE_BYTES] !== checksum)
      throw new ContainerError(this.#file, `the page at 0x${gpa.toString(16)} is not as it was saved`);
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

function openToRead(file: string): number {
  try {
    // A FIFO would keep us waiting for a writer.
    const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    if (fstatSync(fd).isFile()) return fd;
    closeSync(fd);
  } catch (error) {
    throw new InputError('unreadable-file', `cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`, {
      given: file,
    });
  }
  throw new InputError('unreadable-file', `cannot read ${file}: it is not a file`, { given: file });
}
