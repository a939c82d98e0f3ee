/** Guest RAM: a guest-physical address turns into bytes in one checked place only. */
import { EXIT, GuestAbiError } from '../../corpora/errors.js';

declare const gpaBrand: unique symbol;
/** A guest-physical address. No code can use it as an offset: only `GuestMemory` turns it into bytes. */
export type Gpa = number & { readonly [gpaBrand]: true };

/** Takes a number from a guest or an image as a guest-physical address; `GuestMemory` decides whether something is there. */
export const gpa = (address: number): Gpa => address as Gpa;

/** One range of guest memory as the monitor sees it. */
export interface MemoryRegion {
  readonly gpa: number;
  readonly bytes: Uint8Array;
  readonly readOnly: boolean;
  /** Where it is mapped in this process; 0 where no kernel is behind it. */
  readonly hostAddress: bigint;
  /** Pages that were never touched hold what a file holds, not zeros. */
  readonly hasImage?: boolean;
}

/** An address that a guest or an image gave lies outside guest memory. */
export class GuestAddressError extends GuestAbiError {
  constructor(address: number, length: number) {
    super(
      'guest-address',
      EXIT.broken,
      `guest-physical 0x${address.toString(16)} + ${length} bytes is not in guest memory`,
    );
  }
}

/** All memory of one guest. */
export class GuestMemory {
  #regions: readonly MemoryRegion[];

  constructor(regions: readonly MemoryRegion[]) {
    this.#regions = regions;
  }

  get regions(): readonly MemoryRegion[] {
    return this.#regions;
  }

  /** The `length` bytes at `address`: a view, not a copy. Throws `GuestAddressError` unless all lie in one region. */
  at(address: Gpa, length: number): Uint8Array {
    for (const region of this.#regions) {
      const offset = address - region.gpa;
      if (offset >= 0 && length >= 0 && offset + length <= region.bytes.length)
        return region.bytes.subarray(offset, offset + length);
    }
    throw new GuestAddressError(address, length);
  }

  /** Forgets all regions: to be called before their mapping goes. */
  drop(): void {
    this.#regions = [];
  }
}
