/** The text of a file that a command was given; `-` is stdin. */
import { readFileSync, statSync } from 'node:fs';
import { InputError } from '../../corpora/errors.js';

/** Longest file taken, in bytes: dumps of 1,024 CPUs have 40 MiB. */
const LARGEST = 256 * 2 ** 20;

/** Throws `InputError` `unreadable-file`, or `too-large` before anything is read. */
export function readInputText(file: string): string {
  try {
    if (file !== '-' && statSync(file).size > LARGEST)
      throw new InputError('too-large', `${file} has more than ${LARGEST} bytes`, { given: file });
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    if (error instanceof InputError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new InputError('unreadable-file', `cannot read ${file}: ${code ?? String(error)}`, {
      given: file,
      cause: error,
    });
  }
}
