/** What a boot puts into guest memory and registers: a value, made once from an image and applied at every start. */
import { InputError } from '../../corpora/errors.js';
import { type GuestMemory, gpa } from '../kvm/guest-memory.js';

/** Bytes that a boot puts at `address`, then zeros up to `size`. */
export interface Load {
  readonly address: number;
  readonly bytes: Uint8Array;
  /** In memory; at least `bytes.length`. */
  readonly size: number;
}

/** How the boot processor starts: 32-bit protected mode, flat segments, paging and interrupts off. */
export interface EntryState {
  readonly eip: number;
  readonly eax: number;
  readonly ebx: number;
}

export interface BootPlan {
  readonly protocol: BootProtocol;
  readonly loads: readonly Load[];
  readonly entry: EntryState;
}

export type BootProtocol = 'multiboot' | 'pvh' | 'flat';

/** A file that the boot hands to the guest. */
export interface BootModule {
  /** What the guest reads as the module's command line. */
  readonly text: string;
  readonly bytes: Uint8Array;
}

export interface BootImage {
  /** For messages, and the first word of a multiboot command line. */
  readonly name: string;
  readonly bytes: Uint8Array;
  /** `auto` takes multiboot, else PVH, else flat, as QEMU does. */
  readonly protocol?: BootProtocol | 'auto';
}

/** What is to be booted: `-kernel`, `-initrd`, `-append`. */
export interface BootOptions {
  readonly image: BootImage;
  readonly modules?: readonly BootModule[];
  readonly append?: string;
}

/** An image that cannot be booted. Throws as bad input: exit code 2. */
export class ImageError extends InputError {
  constructor(name: string, why: string) {
    super('bad-image', `${name}: ${why}`, { given: name });
  }
}

/** Puts a plan into memory. `fresh` memory is zero already, so its zeros need no writing (each touched page costs a fault). */
export function applyLoads(plan: BootPlan, memory: GuestMemory, fresh: boolean): void {
  for (const { address, bytes, size } of plan.loads) {
    const target = memory.at(gpa(address), size);
    target.set(bytes);
    if (!fresh) target.fill(0, bytes.length);
  }
}
