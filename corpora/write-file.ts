/** Writes a file whole or not at all: a temporary name in the same folder, synced, renamed. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { MachineError } from './errors.js';

/** Gives the number of bytes written. Throws `MachineError` `file-not-written` naming the errno; no partial file is left. */
export function writeFileWhole(file: string, pieces: readonly Uint8Array[]): number {
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    const fd = openSync(temporary, 'wx', 0o600);
    try {
      for (const piece of pieces) for (let done = 0; done < piece.length; ) done += writeSync(fd, piece, done);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
    syncFolder(dirname(file));
  } catch (error) {
    removeIfThere(temporary);
    const { code } = error as NodeJS.ErrnoException;
    throw new MachineError('file-not-written', `cannot write ${file}: ${code ?? String(error)}`, {
      given: file,
      cause: error,
    });
  }
  return pieces.reduce((sum, piece) => sum + piece.length, 0);
}

/** Where the folder is none, even looking for the file fails; the error to tell is the first one. */
function removeIfThere(file: string): void {
  try {
    rmSync(file, { force: true });
  } catch {
    // Nothing can have been written.
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
