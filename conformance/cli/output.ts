/** How commands speak: one JSON document or text on stdout, progress and warnings on stderr. */
import { writeSync } from 'node:fs';
import { EXIT, type ExitCode, GuestAbiError } from '../../corpora/errors.js';

/** Options that every command has. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly corpora?: readonly string[];
  readonly verbose?: boolean;
}

/** Writes all of `text` to stdout, also where it is a pipe whose reader is slow; a closed pipe ends the process quietly. */
export function print(text: string): void {
  const bytes = Buffer.from(text.endsWith('\n') ? text : `${text}\n`);
  for (let done = 0; done < bytes.length; ) {
    try {
      done += writeSync(1, bytes, done);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPIPE') process.exit(EXIT.holds);
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

/** Writes one JSON document whose `schema` is `guest-abi/<kind>/1`. */
export const printJson = (kind: string, document: object): void =>
  print(JSON.stringify({ schema: `guest-abi/${kind}/1`, ...document }, null, 1));

/** A line for the person at the terminal; never part of the result. */
export const warn = (text: string): void => void process.stderr.write(`guest-abi: ${text}\n`);

/** Says an error as the user asked for it, and gives the exit code. A bug of ours keeps its stack. */
export function reportError(error: unknown, json: boolean): ExitCode {
  const known = error instanceof GuestAbiError ? error : null;
  if (json) {
    const bug = { code: 'internal', message: String(error), given: null, nearest: [] };
    printJson('error', { error: known?.toJSON() ?? bug });
  } else if (known) warn(known.message);
  if (known) return known.exitCode;
  process.stderr.write(`guest-abi: internal error, please report it: ${(error as Error)?.stack ?? String(error)}\n`);
  return EXIT.cannot;
}
