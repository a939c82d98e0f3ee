/** Puts the bytes of the probe port together to records, whatever the pieces in which they come. */
import { MachineError } from '../corpora/errors.js';
import { ABI_VERSION, CHECKSUM_BYTES, RECORD_CAP, RECORD_HEADER_BYTES, RECORD_MAGIC } from '../corpora/probe-abi.js';
import { decodeRecord, type ProbeRecord } from './observation.js';

/** Takes bytes, gives records as `decode` reads them. After a throw it is of no more use. */
export class RecordAssembler<T = ProbeRecord> {
  readonly #decode: (bytes: Uint8Array) => T;
  #bytes = new Uint8Array(8192);
  #held = 0;

  /** `decode`: what a record is; default the cpu-state probe's. */
  constructor(decode: (bytes: Uint8Array) => T = decodeRecord as (bytes: Uint8Array) => T) {
    this.#decode = decode;
  }

  /** Bytes that belong to a record not yet complete. */
  get pending(): number {
    return this.#held;
  }

  /**
   * Takes the next bytes and returns the records that they complete. Throws `MachineError` (`bad-probe-record`) as soon as the
   * bytes cannot become one.
   */
  push(chunk: Uint8Array): T[] {
    this.#hold(chunk);
    const records: T[] = [];
    for (let length = this.#length(); length !== null && length <= this.#held; length = this.#length()) {
      records.push(this.#decode(this.#bytes.slice(0, length)));
      this.#bytes.copyWithin(0, length, this.#held);
      this.#held -= length;
    }
    return records;
  }

  #hold(chunk: Uint8Array): void {
    const needed = this.#held + chunk.length;
    if (needed > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, this.#held));
      this.#bytes = larger;
    }
    this.#bytes.set(chunk, this.#held);
    this.#held = needed;
  }

  /** The length of the record at the front, or null while its header is not whole. */
  #length(): number | null {
    if (this.#held < RECORD_HEADER_BYTES) return null;
    const view = new DataView(this.#bytes.buffer);
    const length = view.getUint32(8, true);
    const sound =
      view.getUint32(0, true) === RECORD_MAGIC &&
      view.getUint32(4, true) === ABI_VERSION &&
      length >= RECORD_HEADER_BYTES + CHECKSUM_BYTES &&
      length <= RECORD_CAP;
    if (!sound) throw new MachineError('bad-probe-record', 'probe port: the bytes are no record of this version');
    return length;
  }
}
