/** What a live save and its thread say to each other. */
import type { HostRange } from '../kvm/userfaultfd.ffi.js';
import type { ImagePlan } from './image.js';

/** Places in the shared words. */
export const WORD = { giveUp: 0, pages: 1, faults: 2 } as const;
export const WORDS = 3;

export interface SaveThreadData {
  /** The userfaultfd that `range` is registered with. */
  readonly uffd: number;
  readonly range: HostRange;
  readonly file: string;
  readonly words: Int32Array;
  readonly bytesPerSecond: number;
}

/** To the thread, one save after the other: `begin` is answered, then `plan` (null gives up) is. */
export type SaveRequest =
  | { readonly kind: 'begin'; readonly data: SaveThreadData }
  | { readonly kind: 'plan'; readonly plan: ImagePlan | null };

export type SaveMessage =
  /** The file is open and all pages are there: the guest may be stopped and protected. */
  | { readonly kind: 'ready' }
  /** The file is whole and has its name. */
  | { readonly kind: 'saved'; readonly syncMs: number }
  | { readonly kind: 'given-up' }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };
