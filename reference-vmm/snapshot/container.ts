/**
 * The one format of snapshots and migration streams: sections with lengths and checksums, in a file closed by a digest of everything.
 *
 *     0   magic     "guestabi" (8 bytes)
 *     8   version   u32, CONTAINER_VERSION
 *     12  kind      u32, CONTAINER_KIND
 *     16  length    u64, of the whole container, digest included; 0 in a stream, whose end is not known yet
 *     24  sections  each: type u32, checksum u32, payload length u64, payload
 *     -32 digest    SHA-256 of all bytes before it; not in a stream
 *
 * All numbers little-endian. The length says what to expect before anything is allocated. The checksum of a section is the CRC-32 of all
 * before it: header, types, lengths and payloads, without the checksums. So a section that was changed, lost, doubled or moved is refused where
 * it stands, and in a stream before it is used.
 */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { InputError } from '../../corpora/errors.js';

/** What a container of any version begins with. */
export const MAGIC = Buffer.from('guestabi', 'latin1');
export const CONTAINER_VERSION = 2;
export const CONTAINER_KIND = { snapshot: 1, 'migration stream': 2, 'migration return path': 3 } as const;
export type ContainerKind = keyof typeof CONTAINER_KIND;

export const HEADER_BYTES = 24;
export const SECTION_HEADER_BYTES = 16;
const DIGEST_BYTES = 32;

export interface Section {
  readonly type: number;
  readonly payload: Uint8Array;
}

/** The stream or file is not what it claims to be. Nothing was touched. */
export class ContainerError extends InputError {
  constructor(what: string, why: string) {
    super('bad-container', `${what}: ${why}`, { given: what });
  }
}

/** The bytes of a container whose sections have payloads of these lengths. */
export const containerBytes = (payloads: readonly number[]): number =>
  payloads.reduce((sum, length) => sum + SECTION_HEADER_BYTES + length, HEADER_BYTES + DIGEST_BYTES);

/** The container's pieces in order; joined they are the container. Payloads are not copied. */
export function encodeContainer(kind: ContainerKind, sections: readonly Section[]): Uint8Array[] {
  const length = containerBytes(sections.map(({ payload }) => payload.length));
  const header = encodeHeader(kind, length);
  const checksum = new Checksum(header);
  const body = sections.flatMap(({ type, payload }) => [checksum.seal(type, payload), payload]);
  const pieces = [header, ...body];
  const digest = createHash('sha256');
  for (const piece of pieces) digest.update(piece);
  return [...pieces, digest.digest()];
}

/** `length` is 0 in a stream. */
export function encodeHeader(kind: ContainerKind, length: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header.writeUInt32LE(CONTAINER_VERSION, 8);
  header.writeUInt32LE(CONTAINER_KIND[kind], 12);
  header.writeBigUInt64LE(BigInt(length), 16);
  return header;
}

/** The checksum that runs through the sections after a header. */
export class Checksum {
  #value: number;

  constructor(header: Uint8Array) {
    this.#value = crc32(header);
  }

  /** The header of the next section. */
  seal(type: number, payload: Uint8Array): Buffer {
    const header = Buffer.alloc(SECTION_HEADER_BYTES);
    header.writeUInt32LE(type, 0);
    header.writeBigUInt64LE(BigInt(payload.length), 8);
    header.writeUInt32LE(this.#next(header, payload), 4);
    return header;
  }

  /** Whether the next section is what its header says. */
  holds(header: Buffer, payload: Uint8Array): boolean {
    return this.#next(header, payload) === header.readUInt32LE(4);
  }

  #next(header: Buffer, payload: Uint8Array): number {
    const named = crc32(header.subarray(8), crc32(header.subarray(0, 4), this.#value));
    this.#value = crc32(payload, named);
    return this.#value;
  }
}

/** Reads the header of a stream. Throws `ContainerError` on another magic, version or kind. */
export function checkStreamHeader(header: Uint8Array, kind: ContainerKind, what: string): void {
  if (claimedLength(header, kind, what) !== 0n)
    throw new ContainerError(what, 'a stream that claims to know its length');
}

/**
 * Reads a header: how long the whole container is. `what` names the source in errors. Throws `ContainerError` on another magic, version or kind,
 * and where the length is over `limit`: to be called before memory is taken for the rest.
 */
export function containerLength(header: Uint8Array, kind: ContainerKind, what: string, limit: number): number {
  const length = claimedLength(header, kind, what);
  if (length < HEADER_BYTES + DIGEST_BYTES || length > limit)
    throw new ContainerError(what, `claims ${length} bytes, allowed are ${HEADER_BYTES + DIGEST_BYTES} to ${limit}`);
  return Number(length);
}

function claimedLength(header: Uint8Array, kind: ContainerKind, what: string): bigint {
  if (header.length < HEADER_BYTES) throw new ContainerError(what, `cut short: ${header.length} bytes`);
  const bytes = Buffer.from(header.buffer, header.byteOffset, HEADER_BYTES);
  if (!bytes.subarray(0, 8).equals(MAGIC)) throw new ContainerError(what, 'not a guest-abi snapshot or stream');
  const version = bytes.readUInt32LE(8);
  if (version !== CONTAINER_VERSION)
    throw new ContainerError(what, `format version ${version}, this guest-abi reads ${CONTAINER_VERSION}`);
  if (bytes.readUInt32LE(12) !== CONTAINER_KIND[kind]) throw new ContainerError(what, `not a ${kind}`);
  return bytes.readBigUInt64LE(16);
}

/** Checks and splits a whole container. Payloads are views. Throws `ContainerError`. */
export function decodeContainer(bytes: Uint8Array, kind: ContainerKind, what: string): Section[] {
  const length = containerLength(bytes, kind, what, Number.MAX_SAFE_INTEGER);
  if (length !== bytes.length) throw new ContainerError(what, `claims ${length} bytes, has ${bytes.length}`);
  const end = length - DIGEST_BYTES;
  const sections = splitSections(Buffer.from(bytes.buffer, bytes.byteOffset, end), what);
  const digest = createHash('sha256').update(bytes.subarray(0, end)).digest();
  if (!digest.equals(bytes.subarray(end))) throw new ContainerError(what, 'digest does not match: bytes were changed');
  return sections;
}

function splitSections(bytes: Buffer, what: string): Section[] {
  const sections: Section[] = [];
  const sum = new Checksum(bytes.subarray(0, HEADER_BYTES));
  for (let at = HEADER_BYTES; at < bytes.length; ) {
    if (bytes.length - at < SECTION_HEADER_BYTES) throw new ContainerError(what, `section header cut at byte ${at}`);
    const header = bytes.subarray(at, at + SECTION_HEADER_BYTES);
    const type = header.readUInt32LE(0);
    const length = header.readBigUInt64LE(8);
    at += SECTION_HEADER_BYTES;
    if (length > bytes.length - at)
      throw new ContainerError(what, `section ${type} claims ${length} bytes, ${bytes.length - at} are left`);
    const payload = bytes.subarray(at, at + Number(length));
    if (!sum.holds(header, payload)) throw new ContainerError(what, `checksum of section ${type} does not match`);
    sections.push({ type, payload });
    at += payload.length;
  }
  return sections;
}
