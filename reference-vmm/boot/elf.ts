/** ELF executables: the loadable segments at their physical addresses, and Xen's PVH note. */
import { ImageError, type Load } from './plan.js';

export interface ElfImage {
  readonly bits: 32 | 64;
  readonly entry: number;
  readonly loads: readonly Load[];
  /** XEN_ELFNOTE_PHYS32_ENTRY: where PVH starts. */
  readonly pvhEntry: number | null;
}

const MACHINE = { EM_386: 3, EM_X86_64: 62 } as const;
const PT_LOAD = 1;
const PT_NOTE = 4;
const XEN_ELFNOTE_PHYS32_ENTRY = 18;
/** More would be absurd. */
const SEGMENT_CAP = 256;

export const isElf = (bytes: Uint8Array): boolean =>
  bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;

interface ProgramHeader {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
  readonly align: number;
}

/** Reads an ELF file; every offset and length is checked. Throws `ImageError`. */
export function readElf(name: string, bytes: Uint8Array): ElfImage {
  const fail = (why: string): never => {
    throw new ImageError(name, why);
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const bits = bytes[4] === 1 ? 32 : bytes[4] === 2 ? 64 : fail(`ELF class ${bytes[4]}`);
  const headerBytes = bits === 32 ? 52 : 64;
  if (bytes.length < headerBytes) fail(`ELF header cut short: ${bytes.length} of ${headerBytes} bytes`);
  if (bytes[5] !== 1) fail('ELF file is not little-endian');
  const machine = view.getUint16(18, true);
  if (machine !== MACHINE.EM_386 && machine !== MACHINE.EM_X86_64) fail(`ELF file for machine ${machine}, not x86`);
  const headers = readProgramHeaders(view, bits, fail);
  const loads = headers
    .filter(({ type, memoryBytes }) => type === PT_LOAD && memoryBytes > 0)
    .map(({ address, offset, fileBytes, memoryBytes }) => {
      if (fileBytes > memoryBytes)
        fail(`segment at 0x${address.toString(16)} has more bytes in the file than in memory`);
      return { address, bytes: bytes.subarray(offset, offset + fileBytes), size: memoryBytes };
    });
  if (loads.length === 0) fail('ELF file without a loadable segment');
  const entry = bits === 32 ? view.getUint32(24, true) : wide(view, 24, fail);
  return { bits, entry, loads, pvhEntry: findPvhEntry(view, headers) };
}

/** A 64-bit field as a number; what does not fit is absurd in an image. */
function wide(view: DataView, at: number, fail: (why: string) => never): number {
  const value = view.getBigUint64(at, true);
  return value <= BigInt(Number.MAX_SAFE_INTEGER)
    ? Number(value)
    : fail(`ELF field 0x${value.toString(16)} is too large`);
}

function readProgramHeaders(view: DataView, bits: 32 | 64, fail: (why: string) => never): ProgramHeader[] {
  const at = bits === 32 ? view.getUint32(28, true) : wide(view, 32, fail);
  const [sizeAt, countAt] = bits === 32 ? [42, 44] : [54, 56];
  const size = view.getUint16(sizeAt, true);
  const count = view.getUint16(countAt, true);
  const wanted = bits === 32 ? 32 : 56;
  if (count > 0 && size !== wanted) fail(`ELF program headers of ${size} bytes, not ${wanted}`);
  if (count > SEGMENT_CAP) fail(`${count} ELF program headers`);
  if (at + count * size > view.byteLength) fail('ELF program headers lie beyond the end of the file');
  return Array.from({ length: count }, (_, i) => {
    const header = readProgramHeader(view, at + i * size, bits, fail);
    const { type, offset, fileBytes } = header;
    if ((type === PT_LOAD || type === PT_NOTE) && offset + fileBytes > view.byteLength)
      fail(`ELF segment ${i} lies beyond the end of the file`);
    return header;
  });
}

const readProgramHeader = (view: DataView, at: number, bits: 32 | 64, fail: (why: string) => never): ProgramHeader =>
  bits === 32
    ? {
        type: view.getUint32(at, true),
        offset: view.getUint32(at + 4, true),
        address: view.getUint32(at + 12, true),
        fileBytes: view.getUint32(at + 16, true),
        memoryBytes: view.getUint32(at + 20, true),
        align: view.getUint32(at + 28, true),
      }
    : {
        type: view.getUint32(at, true),
        offset: wide(view, at + 8, fail),
        address: wide(view, at + 24, fail),
        fileBytes: wide(view, at + 32, fail),
        memoryBytes: wide(view, at + 40, fail),
        align: wide(view, at + 48, fail),
      };

/** Notes: name length, description length, type, name, description; both padded (ELF gABI, "Note Section"). */
function findPvhEntry(view: DataView, headers: readonly ProgramHeader[]): number | null {
  for (const { type, offset, fileBytes, align } of headers) {
    if (type !== PT_NOTE) continue;
    const padded = (length: number) => (align === 8 ? Math.ceil(length / 8) * 8 : Math.ceil(length / 4) * 4);
    const end = offset + fileBytes;
    for (let at = offset; at + 12 <= end; ) {
      const nameBytes = view.getUint32(at, true);
      const descBytes = view.getUint32(at + 4, true);
      const desc = at + padded(12 + nameBytes);
      if (desc + descBytes > end) break;
      const isXen = nameBytes === 4 && view.getUint32(at + 12, false) === 0x58656e00;
      if (isXen && view.getUint32(at + 8, true) === XEN_ELFNOTE_PHYS32_ENTRY && descBytes >= 4)
        return view.getUint32(desc, true);
      at = desc + padded(descBytes);
    }
  }
  return null;
}
