/** Which pages of guest memory were ever touched: the others are zero, and need not be read to know it. */
import { closeSync, openSync, readSync } from 'node:fs';
import type { MemoryRegion } from './guest-memory.js';

const PAGE_BYTES = 4096n;
const ENTRY_BYTES = 8;
/** Bits 63 and 62 of an entry of /proc/PID/pagemap: present, or swapped (Linux Documentation/admin-guide/mm/pagemap.rst). */
const PRESENT_OR_SWAPPED = 0xc0;

/**
 * The pages of a region that may hold something, one bit each, lowest first. All of them where that cannot be told. A page that is touched for
 * the first time meanwhile may be missing.
 */
export function touchedPages({ hostAddress, bytes, hasImage }: MemoryRegion): Uint8Array {
  const pages = bytes.length / Number(PAGE_BYTES);
  const touched = new Uint8Array(Math.ceil(pages / 8));
  const entries = hasImage ? null : readPagemap(hostAddress, pages);
  if (!entries) return touched.fill(0xff);
  for (let page = 0; page < pages; page++)
    if (entries[page * ENTRY_BYTES + 7]! & PRESENT_OR_SWAPPED) touched[page >> 3]! |= 1 << (page & 7);
  return touched;
}

function readPagemap(address: bigint, pages: number): Uint8Array | null {
  let fd: number;
  try {
    fd = openSync('/proc/self/pagemap', 'r');
  } catch {
    return null;
  }
  try {
    const entries = new Uint8Array(pages * ENTRY_BYTES);
    const at = (address / PAGE_BYTES) * BigInt(ENTRY_BYTES);
    for (let done = 0; done < entries.length; ) {
      const read = readSync(fd, entries, { offset: done, position: at + BigInt(done) });
      if (read === 0) return null;
      done += read;
    }
    return entries;
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}
