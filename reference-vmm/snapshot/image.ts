/**
 * A snapshot file: a container whose last section says where the guest's RAM stands, and the RAM itself behind it, page after page.
 *
 *     0               container, kind `snapshot`: identity, machine, one section a vCPU, and `image`:
 *                       u64 where the RAM begins, counted from the container's first byte, a multiple of 4096
 *                       u32 CRC-32 of each page, in order
 *     RAM             `memoryBytes` bytes as the guest has them; pages of zeros are holes
 *
 * Every page has one place, so the size is known before the first byte is written, pages can be written in any order, and the RAM can be mapped
 * instead of read. Nothing depends on the container being at the beginning of a file: within a disk image it can stand at any
 * multiple of 4096. The digest of the container covers the checksums, and they cover the pages.
 */
import { crc32 } from 'node:zlib';
import { containerBytes, encodeContainer, type Section } from './container.js';
import { PAGE_BYTES, SECTION } from './sections.js';

const PLACE_BYTES = 8;
const ZEROS = Buffer.alloc(PAGE_BYTES);

/** The checksum of a page of zeros. */
export const ZERO_CHECKSUM = crc32(ZEROS);

/** Whether a page holds only zeros, and so need not be written. */
export const isZeroPage = (ram: Buffer, at: number): boolean =>
  ram.compare(ZEROS, 0, PAGE_BYTES, at, at + PAGE_BYTES) === 0;

/** Where the parts of a snapshot stand, in bytes. */
export interface ImageLayout {
  readonly ramOffset: number;
  readonly fileBytes: number;
}

/** What a snapshot is before its pages are copied. */
export interface ImagePlan extends ImageLayout {
  readonly head: readonly Section[];
  readonly memoryBytes: number;
}

/** Where the parts of a snapshot with these sections before its `image` stand: no more need be known of it. */
export function planImage(head: readonly Section[], memoryBytes: number): ImagePlan {
  const bytes = containerBytes([...head.map(({ payload }) => payload.length), imageSectionBytes(memoryBytes)]);
  const ramOffset = Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
  return { head, memoryBytes, ramOffset, fileBytes: ramOffset + memoryBytes };
}

/** The bytes before the RAM, once the checksum of every page is known. */
export const imageHead = ({ head, ramOffset }: ImagePlan, checksums: Uint32Array): Uint8Array =>
  Buffer.concat(encodeContainer('snapshot', [...head, imageSection(ramOffset, checksums)]));

const imageSectionBytes = (memoryBytes: number): number => PLACE_BYTES + (memoryBytes / PAGE_BYTES) * 4;

function imageSection(ramOffset: number, checksums: Uint32Array): Section {
  const payload = Buffer.alloc(PLACE_BYTES + checksums.length * 4);
  payload.writeBigUInt64LE(BigInt(ramOffset));
  payload.set(new Uint8Array(checksums.buffer, checksums.byteOffset, checksums.byteLength), PLACE_BYTES);
  return { type: SECTION.image, payload };
}

/** What an `image` section says; null where it cannot be of a guest with `memoryBytes` of RAM behind a container of `containedBytes`. */
export function readImageSection(
  { payload }: Section,
  memoryBytes: number,
  containedBytes: number,
): { readonly ramOffset: number; readonly checksums: Uint32Array } | null {
  if (payload.length !== imageSectionBytes(memoryBytes)) return null;
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  const ramOffset = Number(bytes.readBigUInt64LE());
  if (ramOffset % PAGE_BYTES !== 0 || ramOffset < containedBytes || ramOffset >= containedBytes + PAGE_BYTES)
    return null;
  // Copied, so that the words stand at a multiple of their size, whatever the payload's place is.
  const { buffer } = Uint8Array.from(bytes.subarray(PLACE_BYTES));
  return { ramOffset, checksums: new Uint32Array(buffer) };
}
