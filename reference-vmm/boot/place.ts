/** Where modules and boot information go: behind the image, page by page, so that nothing can lie over anything. */
import { InputError } from '../../corpora/errors.js';
import { type BootModule, ImageError, type Load } from './plan.js';

const PAGE = 4096;
const pageUp = (address: number): number => Math.ceil(address / PAGE) * PAGE;

/** A module with its place. */
export interface PlacedModule {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

export interface Placement {
  readonly loads: readonly Load[];
  readonly modules: readonly PlacedModule[];
  /** A page boundary behind everything: boot information goes there. */
  readonly free: number;
}

/** Places modules behind an image. Throws `ImageError` or `InputError` `memory-too-small` where something lies outside guest memory. */
export function place(
  name: string,
  image: readonly Load[],
  modules: readonly BootModule[],
  memoryBytes: number,
): Placement {
  for (const { address, size } of image)
    if (address + size > memoryBytes)
      throw new ImageError(
        name,
        `needs memory up to 0x${(address + size).toString(16)}, the guest has 0x${memoryBytes.toString(16)}`,
      );
  let free = pageUp(Math.max(...image.map(({ address, size }) => address + size)));
  const placed = modules.map(({ text, bytes }) => {
    const start = free;
    free = pageUp(start + bytes.length);
    return { text, start, end: start + bytes.length, bytes };
  });
  requireMemory(free, memoryBytes);
  return {
    loads: [...image, ...placed.map(({ start, bytes }) => ({ address: start, bytes, size: bytes.length }))],
    modules: placed,
    free,
  };
}

export function requireMemory(end: number, memoryBytes: number): void {
  if (end > memoryBytes)
    throw new InputError(
      'memory-too-small',
      `image and modules need ${Math.ceil(end / 1024)} KiB, the guest has ${memoryBytes / 1024} KiB`,
      { given: `${memoryBytes}` },
    );
}

/** Boot information under construction: words and texts one after the other at known addresses. */
export class InfoBlock {
  readonly #base: number;
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  /** `base` is the address of the block. */
  constructor(base: number) {
    this.#base = base;
  }

  /** Address of the next byte. */
  get next(): number {
    return this.#base + this.#length;
  }

  /** Appends bytes, padded to 8; gives their address. */
  add(bytes: Uint8Array): number {
    const at = this.next;
    const padded = new Uint8Array(Math.ceil(bytes.length / 8) * 8);
    padded.set(bytes);
    this.#parts.push(padded);
    this.#length += padded.length;
    return at;
  }

  /** Appends a text with its closing 0. */
  text(text: string): number {
    return this.add(Buffer.from(`${text}\0`, 'utf8'));
  }

  words(...words: readonly number[]): number {
    return this.add(new Uint8Array(Uint32Array.from(words).buffer));
  }

  load(): Load {
    const bytes = Buffer.concat(this.#parts);
    return { address: this.#base, bytes, size: bytes.length };
  }
}

/** One range of the memory map: type 1 is RAM, 2 reserved (ACPI address ranges; both protocols use the numbers). */
export interface MapEntry {
  readonly address: number;
  readonly bytes: number;
  readonly type: 1 | 2;
}

/** A PC's map: RAM with the hole from 640 KiB to 1 MiB that the firmware had, and the ROM page. */
export const memoryMap = (memoryBytes: number, rom: { readonly base: number; readonly bytes: number }): MapEntry[] => [
  { address: 0, bytes: LOW_BYTES, type: 1 },
  { address: LOW_BYTES, bytes: HIGH_BASE - LOW_BYTES, type: 2 },
  { address: HIGH_BASE, bytes: memoryBytes - HIGH_BASE, type: 1 },
  { address: rom.base, bytes: rom.bytes, type: 2 },
];

/** Conventional memory up to the extended BIOS data area. */
export const LOW_BYTES = 0x9_fc00;
export const HIGH_BASE = 0x10_0000;
