/** Writes a file whole or not at all: a temporary name in the same folder, synced, renamed. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { threadId } from 'node:worker_threads';
import { MachineError } from './errors.js';

/** A file that is being written under a temporary name; nobody sees it under its own before `commit`. */
export class NewFile {
  readonly fd: number;
  readonly #file: string;
  #open = true;

  /** Throws `MachineError` `file-not-written`. */
  constructor(file: string) {
    this.#file = file;
    this.fd = naming(file, () => openSync(temporaryName(file), 'wx', 0o600));
  }

  /** Writes all of `bytes` at `position`, or behind what was written last. Throws `MachineError` `file-not-written` naming the errno. */
  write(bytes: Uint8Array, position: number | null = null): void {
    naming(this.#file, () => {
      for (let done = 0; done < bytes.length; )
        done += writeSync(this.fd, bytes, done, bytes.length - done, position === null ? null : position + done);
    });
  }

  /** Syncs the file and gives it its name. Throws `MachineError` `file-not-written`; then `discard` is still to be called. */
  commit(): void {
    naming(this.#file, () => {
      fsyncSync(this.fd);
      this.#close();
      renameSync(temporaryName(this.#file), this.#file);
      syncFolder(dirname(this.#file));
    });
  }

  /** Removes it; after `commit` nothing is left to remove. */
  discard(): void {
    this.#close();
    removeTemporary(this.#file);
  }

  #close(): void {
    if (this.#open) closeSync(this.fd);
    this.#open = false;
  }
}

/** Gives the number of bytes written. Throws `MachineError` `file-not-written` naming the errno; no partial file is left. */
export function writeFileWhole(file: string, pieces: readonly Uint8Array[]): number {
  const made = new NewFile(file);
  try {
    for (const piece of pieces) made.write(piece);
    made.commit();
  } finally {
    made.discard();
  }
  return pieces.reduce((sum, piece) => sum + piece.length, 0);
}

const temporaryName = (file: string, thread = threadId): string => `${file}.${process.pid}-${thread}.tmp`;

/** Removes what a thread of this process left of `file`: for threads that died. */
export function removeTemporary(file: string, thread = threadId): void {
  try {
    rmSync(temporaryName(file, thread), { force: true });
  } catch {
    // Where the folder is none, even looking for the file fails: nothing can have been written.
  }
}

function naming<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new MachineError('file-not-written', `cannot write ${file}: ${code ?? String(error)}`, {
      given: file,
      cause: error,
    });
  }
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
