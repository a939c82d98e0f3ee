/** Snapshots in files: written whole or not at all, and wholly checked before anything of them is used. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { InputError } from '../../corpora/errors.js';
import { writeFileWhole } from '../../corpora/write-file.js';
import { ContainerError, containerLength, decodeContainer, encodeContainer, HEADER_BYTES } from './container.js';
import { type MachineState, readState, stateSections } from './machine-state.js';

/** Largest guest that a snapshot or migration may bring, in bytes. */
export const MEMORY_LIMIT = 1024 * 1024 * 1024;
/** Largest container: all pages of such a guest, and room for the rest. */
export const CONTAINER_LIMIT = MEMORY_LIMIT + 64 * 1024 * 1024;

/** Gives the file's size in bytes. Throws `MachineError` `file-not-written`. */
export const writeSnapshot = (file: string, state: MachineState): number =>
  writeFileWhole(file, encodeContainer('snapshot', stateSections(state)));

/** Throws `InputError` `unreadable-file`, or `ContainerError` on a cut, changed or foreign file. */
export const readSnapshot = (file: string): MachineState =>
  readState(decodeContainer(readBounded(file), 'snapshot', file), file, MEMORY_LIMIT);

/** The file's bytes; its header must say the size that the file has before memory is taken for it. */
function readBounded(file: string): Buffer {
  let fd: number;
  try {
    fd = openSync(file, 'r');
  } catch (error) {
    throw new InputError('unreadable-file', `cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`, {
      given: file,
    });
  }
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    const length = containerLength(header.subarray(0, readSync(fd, header)), 'snapshot', file, CONTAINER_LIMIT);
    const { size } = fstatSync(fd);
    if (size !== length) throw new ContainerError(file, `claims ${length} bytes, has ${size}`);
    const bytes = Buffer.alloc(length);
    for (let done = 0; done < length; ) {
      const read = readSync(fd, bytes, done, length - done, done);
      if (read === 0) throw new ContainerError(file, `claims ${length} bytes, has ${done}`);
      done += read;
    }
    return bytes;
  } finally {
    closeSync(fd);
  }
}
