/**
 * Live save: a snapshot of the guest as it is at the moment of the request, written while it runs on. The guest stops only for its device state
 * to be taken and its RAM to be write-protected; from then on a page is copied before its first write goes through.
 */
import { type HostRange, WriteProtection } from '../kvm/userfaultfd.ffi.js';
import type { LiveMachine } from '../live-machine.js';
import { planImage } from './image.js';
import { type SaveThreadData, WORD, WORDS } from './live-save-words.js';
import { headSections, type MachineCore, PAGE_BYTES } from './machine-state.js';
import { SaveThread } from './save-thread.js';

export interface LiveSaveOptions {
  /** Most bytes that the scan writes in a second; pages that the guest waits for are not held back. Default: no limit. */
  readonly bytesPerSecond?: number;
}

export type LiveSaveEnd =
  | {
      readonly kind: 'saved';
      /** From the request to the whole file, in milliseconds. */
      readonly totalMs: number;
      /** Of these, how long it took to sync the file. */
      readonly syncMs: number;
      /** Writes of the guest that waited for their page. */
      readonly faults: number;
    }
  /** Told to give up: there is no file. */
  | { readonly kind: 'given-up' };

/** A live save under way. Its guest must not be disposed before `done` is settled. */
export interface LiveSave {
  /** The size that the file will have; pages of zeros take no room in it. */
  readonly fileBytes: number;
  /** How long the guest stood still, in milliseconds. */
  readonly pauseMs: number;
  readonly progress: () => { readonly pages: number; readonly of: number; readonly faults: number };
  /** Gives up without a trace: no file, no protection, the guest runs. It may be too late. */
  readonly giveUp: () => Promise<LiveSaveEnd>;
  /** Rejects with `MachineError` where the file could not be written; the guest runs on, and there is no file. */
  readonly done: Promise<LiveSaveEnd>;
}

/**
 * Starts a live save to `file`. Resolves once the guest runs again and all of the image is fixed. Throws `MachineError`: `userfaultfd-missing` where
 * this machine or this guest's memory does not allow it, `file-not-written`; the guest then runs as before.
 */
export async function startLiveSave(
  guest: LiveMachine,
  file: string,
  { bytesPerSecond = Number.POSITIVE_INFINITY }: LiveSaveOptions = {},
): Promise<LiveSave> {
  const begin = performance.now();
  const { hostAddress, bytes } = guest.memory.regions[0]!;
  const ram: HostRange = { address: hostAddress, bytes: bytes.length };
  const protection = WriteProtection.open(ram);
  const words = new Int32Array(new SharedArrayBuffer(WORDS * 4));
  const data: SaveThreadData = { uffd: protection.fd, range: ram, file, words, bytesPerSecond };
  const thread = new SaveThread(data);
  const ended = thread.end.finally(() => protection[Symbol.dispose]());
  ended.catch(() => undefined);
  await Promise.race([thread.ready, ended]);
  let fixed: Pick<LiveSave, 'fileBytes' | 'pauseMs'>;
  try {
    const { core, pauseMs } = fixImage(guest, protection);
    // The guest runs again; a write waits until the thread has the plan.
    const plan = planImage(headSections(core), core.memoryBytes);
    thread.run(plan);
    fixed = { fileBytes: plan.fileBytes, pauseMs };
  } catch (error) {
    thread.run(null);
    await ended.catch(() => undefined);
    throw error;
  }
  const done = ended.then((end): LiveSaveEnd => {
    if (end.kind === 'given-up') return end;
    return {
      kind: 'saved',
      totalMs: performance.now() - begin,
      syncMs: end.syncMs,
      faults: Atomics.load(words, WORD.faults),
    };
  });
  done.catch(() => undefined);
  return {
    ...fixed,
    done,
    progress: () => ({
      pages: Atomics.load(words, WORD.pages),
      of: ram.bytes / PAGE_BYTES,
      faults: Atomics.load(words, WORD.faults),
    }),
    giveUp: () => {
      Atomics.store(words, WORD.giveUp, 1);
      return done;
    },
  };
}

/** Stops the guest for as long as its state is taken and its RAM protected. Where it stood still before, it goes on standing. */
function fixImage(
  guest: LiveMachine,
  protection: WriteProtection,
): { readonly core: MachineCore; readonly pauseMs: number } {
  const wasRunning = guest.state === 'running';
  const begin = performance.now();
  guest.pause();
  try {
    const core = guest.saveCore();
    protection.protect();
    return { core, pauseMs: performance.now() - begin };
  } finally {
    if (wasRunning) guest.resume();
  }
}
