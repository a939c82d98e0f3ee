/** The thread that copies a running guest's write-protected RAM into a snapshot file: pages that the guest waits for first, then all others in order. */
import { ftruncateSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { GuestAbiError } from '../../corpora/errors.js';
import { NewFile } from '../../corpora/write-file.js';
import { bytesOf, populate, WriteProtection } from '../kvm/userfaultfd.ffi.js';
import { type ImagePlan, imageHead, isZeroPage, ZERO_CHECKSUM } from './image.js';
import { type SaveMessage, type SaveRequest, type SaveThreadData, WORD } from './live-save-words.js';
import { PAGE_BYTES } from './sections.js';

/** Pages written with one call: a writer that faults meanwhile waits for no more than these. */
const BATCH_PAGES = 32;
/** Pages that were copied for their writers and are not in the file yet. */
const ASIDE_PAGES = 256;
/** How long the thread sleeps at most before it looks whether it shall give up, in milliseconds. */
const SLICE_MS = 10;

class Copier {
  readonly #protection: WriteProtection;
  readonly #ram: Buffer;
  readonly #words: Int32Array;
  readonly #file: NewFile;
  readonly #ramOffset: number;
  readonly #copied: Uint8Array;
  readonly #aside = Buffer.alloc(ASIDE_PAGES * PAGE_BYTES);
  #asidePages: number[] = [];
  #left: number;
  readonly checksums: Uint32Array;

  constructor(protection: WriteProtection, words: Int32Array, file: NewFile, ramOffset: number) {
    this.#protection = protection;
    this.#ram = bytesOf(protection.range);
    this.#words = words;
    this.#file = file;
    this.#ramOffset = ramOffset;
    this.#left = this.#ram.length / PAGE_BYTES;
    this.#copied = new Uint8Array(this.#left);
    this.checksums = new Uint32Array(this.#left);
  }

  /** Copies everything, at most `bytesPerSecond` but for pages that are waited for; false where it was told to give up. */
  run(bytesPerSecond: number): boolean {
    const begin = performance.now();
    let cursor = 0;
    let written = 0;
    while (this.#left > 0) {
      if (Atomics.load(this.#words, WORD.giveUp)) return false;
      for (const offset of this.#protection.faults()) {
        this.#copyForWriter(offset / PAGE_BYTES);
        // What follows is likely to be written next.
        cursor = offset / PAGE_BYTES + 1;
      }
      const aheadMs = (written / bytesPerSecond) * 1000 - (performance.now() - begin);
      if (aheadMs > 0) {
        this.#writeAside();
        this.#protection.wait(Math.min(aheadMs, SLICE_MS));
        continue;
      }
      const [first, count] = this.#nextRun(cursor);
      if (count > 0) written += this.#copyRun(first, count);
      cursor = first + count;
    }
    this.#writeAside();
    return true;
  }

  /** Takes the page aside and lets the writer go on: it does not wait for the file. */
  #copyForWriter(page: number): void {
    Atomics.add(this.#words, WORD.faults, 1);
    const at = page * PAGE_BYTES;
    if (!this.#copied[page]) {
      if (isZeroPage(this.#ram, at)) this.checksums[page] = ZERO_CHECKSUM;
      else {
        if (this.#asidePages.length === ASIDE_PAGES) this.#writeAside();
        this.#ram.copy(this.#aside, this.#asidePages.length * PAGE_BYTES, at, at + PAGE_BYTES);
        this.#asidePages.push(page);
      }
      this.#done(page, 1);
    }
    this.#protection.lift(at, PAGE_BYTES);
  }

  #writeAside(): void {
    for (const [i, page] of this.#asidePages.entries()) {
      const bytes = this.#aside.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES);
      this.checksums[page] = crc32(bytes);
      this.#file.write(bytes, this.#ramOffset + page * PAGE_BYTES);
    }
    this.#asidePages = [];
  }

  /** The next pages at or behind `cursor`, else from the beginning, that are not copied; none where only ones before it are left. */
  #nextRun(cursor: number): [first: number, count: number] {
    const at = this.#copied.indexOf(0, cursor);
    const first = at >= 0 ? at : Math.max(this.#copied.indexOf(0), 0);
    let count = 0;
    while (count < BATCH_PAGES && this.#copied[first + count] === 0) count++;
    return [first, count];
  }

  /** Writes pages straight from the guest's RAM, and only then lifts their protection. Gives the bytes written. */
  #copyRun(first: number, count: number): number {
    let written = 0;
    for (let page = first, from = first; page <= first + count; page++) {
      const zero = page === first + count || isZeroPage(this.#ram, page * PAGE_BYTES);
      if (!zero) this.checksums[page] = crc32(this.#ram.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES));
      else {
        if (page < first + count) this.checksums[page] = ZERO_CHECKSUM;
        if (page > from) written += this.#writeRam(from, page);
        from = page + 1;
      }
    }
    this.#done(first, count);
    this.#protection.lift(first * PAGE_BYTES, count * PAGE_BYTES);
    return written;
  }

  #writeRam(from: number, to: number): number {
    const bytes = this.#ram.subarray(from * PAGE_BYTES, to * PAGE_BYTES);
    this.#file.write(bytes, this.#ramOffset + from * PAGE_BYTES);
    return bytes.length;
  }

  #done(page: number, count: number): void {
    this.#copied.fill(1, page, page + count);
    this.#left -= count;
    Atomics.add(this.#words, WORD.pages, count);
  }
}

const port = parentPort!;
const say = (message: SaveMessage): void => port.postMessage(message);

/** What is under way: a file that waits for its plan. */
let begun: { readonly made: NewFile; readonly data: SaveThreadData } | null = null;

port.on('message', (request: SaveRequest) => {
  try {
    if (request.kind === 'begin') begin(request.data);
    else save(request.plan);
  } catch (error) {
    // Errors lose their class on the way to another thread.
    const { code, message } = error instanceof GuestAbiError ? error : { code: 'internal', message: String(error) };
    say({ kind: 'failed', code, message });
  }
});

function begin(data: SaveThreadData): void {
  const made = new NewFile(data.file);
  try {
    // Before the guest is stopped: it takes longer than the rest.
    populate(data.range, bytesOf(data.range));
  } catch (error) {
    made.discard();
    throw error;
  }
  begun = { made, data };
  say({ kind: 'ready' });
}

/** Without a plan it gives up. */
function save(plan: ImagePlan | null): void {
  const { made, data } = begun!;
  begun = null;
  const protection = new WriteProtection(data.uffd, data.range);
  let end: SaveMessage = { kind: 'given-up' };
  try {
    const copier = plan && new Copier(protection, data.words, made, plan.ramOffset);
    if (copier?.run(data.bytesPerSecond)) end = { kind: 'saved', syncMs: finish(made, plan!, copier.checksums) };
  } finally {
    // Nobody may wait for a thread that does something else.
    protection.lift(0, data.range.bytes);
    made.discard();
  }
  say(end);
}

/** Gives how long it took, in milliseconds. */
function finish(made: NewFile, plan: ImagePlan, checksums: Uint32Array): number {
  const begin = performance.now();
  made.write(imageHead(plan, checksums), 0);
  ftruncateSync(made.fd, plan.fileBytes);
  made.commit();
  return performance.now() - begin;
}
