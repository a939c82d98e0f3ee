/**
 * Pages on their way: what the source knows of the destination's memory, and the form in which pages travel.
 *
 *     runs    u32
 *     run     gpa u64, pages u32, zero u32 (1: the pages are all zero and no bytes follow)
 *     bytes   of the other runs, in order
 */
import { ContainerError } from '../snapshot/container.js';
import { PAGE_BYTES } from '../snapshot/machine-state.js';
import { PAGES_CAP } from './messages.js';

const RUN_BYTES = 16;
const PART_PAGES = 256;
const ZERO_PAGE = Buffer.alloc(PAGE_BYTES);

interface Run {
  readonly page: number;
  count: number;
  readonly zero: boolean;
}

/** Collects the pages of one message. */
export class PageBatch {
  #runs: Run[] = [];
  #pages = 0;
  #used = 0;
  readonly #bytes = Buffer.allocUnsafe(PAGES_CAP * PAGE_BYTES);

  get full(): boolean {
    return this.#pages === PAGES_CAP;
  }

  get empty(): boolean {
    return this.#pages === 0;
  }

  /** `bytes` is copied. */
  add(page: number, bytes: Uint8Array, zero: boolean): void {
    const last = this.#runs.at(-1);
    if (last && last.zero === zero && last.page + last.count === page) last.count++;
    else this.#runs.push({ page, count: 1, zero });
    this.#pages++;
    if (zero) return;
    this.#bytes.set(bytes, this.#used);
    this.#used += PAGE_BYTES;
  }

  /** The message's payload; the batch is empty afterwards. */
  take(): Buffer {
    const payload = Buffer.allocUnsafe(4 + this.#runs.length * RUN_BYTES + this.#used);
    payload.writeUInt32LE(this.#runs.length, 0);
    this.#runs.forEach(({ page, count, zero }, i) => {
      const at = 4 + i * RUN_BYTES;
      payload.writeBigUInt64LE(BigInt(page) * BigInt(PAGE_BYTES), at);
      payload.writeUInt32LE(count, at + 8);
      payload.writeUInt32LE(zero ? 1 : 0, at + 12);
    });
    this.#bytes.copy(payload, 4 + this.#runs.length * RUN_BYTES, 0, this.#used);
    this.#runs = [];
    this.#pages = 0;
    this.#used = 0;
    return payload;
  }
}

/**
 * What the destination's memory holds once all that was added has arrived: zeros at first. A page goes on its way only where it differs,
 * compared byte by byte, so zero pages and pages written with what they held before cost nothing, and no hash is believed.
 */
export class SentMemory {
  /** Copies of what was sent, a megabyte each, made with its first page; all else is zero. */
  readonly #parts: Buffer[] = [];
  /** Pages that were found equal, pages sent as zero, pages sent with their bytes. */
  readonly counts = { skipped: 0, zero: 0, full: 0 };

  /** Adds the page to the batch where the destination's differs. Precondition: a write to it from here on is noted in the dirty log. */
  add(batch: PageBatch, memory: Uint8Array, page: number): void {
    const at = page * PAGE_BYTES;
    const live = memory.subarray(at, at + PAGE_BYTES);
    if (Buffer.compare(live, this.#sent(page) ?? ZERO_PAGE) === 0) {
      this.counts.skipped++;
      return;
    }
    const sent = this.#sent(page) ?? this.#newPart(page);
    // The guest may write meanwhile: what travels is what was copied.
    sent.set(live);
    const zero = Buffer.compare(sent, ZERO_PAGE) === 0;
    batch.add(page, sent, zero);
    if (zero) this.counts.zero++;
    else this.counts.full++;
  }

  #sent(page: number): Buffer | undefined {
    const at = (page % PART_PAGES) * PAGE_BYTES;
    return this.#parts[Math.floor(page / PART_PAGES)]?.subarray(at, at + PAGE_BYTES);
  }

  #newPart(page: number): Buffer {
    this.#parts[Math.floor(page / PART_PAGES)] = Buffer.alloc(PART_PAGES * PAGE_BYTES);
    return this.#sent(page)!;
  }
}

/** Writes the pages of a message into memory. Throws `ContainerError` on runs that are no runs; memory may then be partly written. */
export function receivePages(payload: Buffer, memory: Uint8Array, what: string): void {
  const count = payload.length >= 4 ? payload.readUInt32LE(0) : PAGES_CAP + 1;
  if (count > PAGES_CAP || payload.length < 4 + count * RUN_BYTES)
    throw new ContainerError(what, `pages: ${count} runs in ${payload.length} bytes`);
  const limit = BigInt(memory.length);
  let at = 4 + count * RUN_BYTES;
  for (let i = 0; i < count; i++) {
    const header = 4 + i * RUN_BYTES;
    const gpa = payload.readBigUInt64LE(header);
    const length = payload.readUInt32LE(header + 8) * PAGE_BYTES;
    const zero = payload.readUInt32LE(header + 12);
    if (gpa % BigInt(PAGE_BYTES) !== 0n || gpa + BigInt(length) > limit || zero > 1)
      throw new ContainerError(what, `pages: 0x${gpa.toString(16)} + ${length} bytes is not in guest memory`);
    if (zero) memory.fill(0, Number(gpa), Number(gpa) + length);
    else if (length > payload.length - at) throw new ContainerError(what, 'pages: cut within a run');
    else memory.set(payload.subarray(at, at + length), Number(gpa));
    at += zero ? 0 : length;
  }
  if (at !== payload.length) throw new ContainerError(what, `pages: ${payload.length - at} bytes too many`);
}

/** The pages of a bitmap, in order. */
export function* pagesIn(bitmap: Uint8Array, pages: number): Generator<number> {
  for (let byte = 0; byte * 8 < pages; byte++) {
    const bits = bitmap[byte]!;
    if (bits === 0) continue;
    for (let bit = 0; bit < 8; bit++) if (bits & (1 << bit) && byte * 8 + bit < pages) yield byte * 8 + bit;
  }
}
