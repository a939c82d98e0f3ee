/** The frame of a probe's record: header, sections, checksum (corpora/probe-abi.ts). */
import { MachineError } from '../corpora/errors.js';
import { hexShort } from '../corpora/hex.js';
import {
  ABI_VERSION,
  CHECKSUM_BYTES,
  RECORD_HEADER_BYTES,
  RECORD_MAGIC,
  recordChecksum,
  SECTION_HEADER_BYTES,
} from '../corpora/probe-abi.js';

export const refuse = (why: string): MachineError => new MachineError('bad-probe-record', `probe record: ${why}`);

/** Throws `MachineError` (`bad-probe-record`) unless the bytes are one whole record of this version. */
export function checkFrame(view: DataView): void {
  const size = view.byteLength;
  if (size < RECORD_HEADER_BYTES + CHECKSUM_BYTES) throw refuse(`${size} bytes are too few`);
  if (view.getUint32(0, true) !== RECORD_MAGIC) throw refuse(`magic is ${hexShort(view.getUint32(0, true))}`);
  if (view.getUint32(4, true) !== ABI_VERSION) throw refuse(`version ${view.getUint32(4, true)}, not ${ABI_VERSION}`);
  const length = view.getUint32(8, true);
  if (length !== size || length % 4 !== 0) throw refuse(`says ${length} bytes, has ${size}`);
  const [a, b] = recordChecksum(view, size - CHECKSUM_BYTES);
  if (a !== view.getUint32(size - 8, true) || b !== view.getUint32(size - 4, true)) throw refuse('checksum is wrong');
}

/** Payloads by section type; `highest` is the highest type that there may be. Throws where they are not in order or not whole. */
export function splitSections(view: DataView, highest: number): Map<number, DataView> {
  const sections = new Map<number, DataView>();
  const end = view.byteLength - CHECKSUM_BYTES;
  let last = 0;
  for (let at = RECORD_HEADER_BYTES; at < end; ) {
    if (end - at < SECTION_HEADER_BYTES) throw refuse('a section header is cut');
    const type = view.getUint32(at, true);
    const length = view.getUint32(at + 4, true);
    at += SECTION_HEADER_BYTES;
    if (type <= last || type > highest) throw refuse(`section type ${type} after ${last}`);
    if (length > end - at) throw refuse(`section ${type} says ${length} bytes, ${end - at} are left`);
    sections.set(type, new DataView(view.buffer, view.byteOffset + at, length));
    at += length;
    last = type;
  }
  return sections;
}
