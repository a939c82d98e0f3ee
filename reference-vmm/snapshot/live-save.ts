/**
 * Live save: a snapshot of the guest as it is at the moment of the request, written while it runs on. The guest stops only for its device state
 * to be taken and its RAM to be write-protected; from then on a page is copied before its first write goes through.
 */
import { Worker } from 'node:worker_threads';
import { MachineError } from '../../corpora/errors.js';
import { removeTemporary } from '../../corpora/write-file.js';
import { type HostRange, WriteProtection } from '../kvm/userfaultfd.ffi.js';
import { planImage } from './image.js';
import { type SaveMessage, type SaveThreadData, WORD, WORDS } from './live-save-words.js';
import { type MachineCore, PAGE_BYTES } from './machine-state.js';

/** A guest whose vCPUs run on threads of their own. */
export interface LiveGuest {
  /** Its RAM in this process: private anonymous memory. */
  readonly ram: HostRange;
  /** Resolves once no vCPU runs. */
  pause(): Promise<void>;
  resume(): void;
  /** The state without the memory, of the paused guest. */
  takeCore(): MachineCore;
}

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
  guest: LiveGuest,
  file: string,
  { bytesPerSecond = Number.POSITIVE_INFINITY }: LiveSaveOptions = {},
): Promise<LiveSave> {
  const begin = performance.now();
  const { ram } = guest;
  const protection = WriteProtection.open(ram);
  const words = new Int32Array(new SharedArrayBuffer(WORDS * 4));
  const data: SaveThreadData = { uffd: protection.fd, range: ram, file, words, bytesPerSecond };
  const thread = new Worker(new URL('live-save-thread.js', import.meta.url), { workerData: data, execArgv: [] });
  const said = messagesOf(thread, file);
  const ended = said.end.finally(() => protection[Symbol.dispose]());
  ended.catch(() => undefined);
  await Promise.race([said.ready, ended]);
  const paused = performance.now();
  await guest.pause();
  try {
    const plan = planImage(guest.takeCore());
    protection.protect();
    thread.postMessage(plan);
    const { fileBytes } = plan;
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
      fileBytes,
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
      pauseMs: resumed(guest, paused),
    };
  } catch (error) {
    thread.postMessage(null);
    await ended.catch(() => undefined);
    guest.resume();
    throw error;
  }
}

function resumed(guest: LiveGuest, since: number): number {
  guest.resume();
  return performance.now() - since;
}

type ThreadEnd = Extract<SaveMessage, { kind: 'saved' | 'given-up' }>;

/** `ready` resolves with the thread's first word; `end` settles once the thread is gone, and its file with it where it failed. */
function messagesOf(thread: Worker, file: string): { ready: Promise<void>; end: Promise<ThreadEnd> } {
  let last: SaveMessage | null = null;
  let died: unknown = null;
  const { threadId } = thread;
  const ready = new Promise<void>((resolve) => {
    thread.on('message', (message: SaveMessage) => {
      last = message;
      if (message.kind === 'ready') resolve();
    });
  });
  const end = new Promise<ThreadEnd>((resolve, reject) => {
    thread.on('error', (error) => {
      died = error;
    });
    thread.on('exit', () => {
      removeTemporary(file, threadId);
      if (last?.kind === 'saved' || last?.kind === 'given-up') resolve(last);
      else if (last?.kind === 'failed') reject(new MachineError(last.code, last.message, { given: file }));
      else
        reject(
          new MachineError('live-save-thread', `the thread that saves ${file} died: ${String(died)}`, { given: file }),
        );
    });
  });
  return { ready, end };
}
