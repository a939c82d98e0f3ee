/** How commands speak: one JSON document or text on stdout, progress and warnings on stderr. */
import { writeSync } from 'node:fs';
import { EXIT, type ExitCode, knownError, MachineError } from '../../corpora/errors.js';

/** Options that every command has. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly corpora?: readonly string[];
  readonly verbose?: boolean;
}

/** Writes a text to stdout, whole, with a line's end. Throws as `writeOut`. */
export const print = (text: string): void => writeOut(Buffer.from(text.endsWith('\n') ? text : `${text}\n`));

let readerIsGone = false;

/**
 * Writes all of `bytes` to stdout, also where it is a pipe whose reader is slow. What a reader that went away does not read is dropped: the exit code is of
 * the work, not of who looks on. Throws `MachineError` `output-not-written`.
 */
export function writeOut(bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length && !readerIsGone; ) {
    try {
      done += writeSync(1, bytes, done);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPIPE') readerIsGone = true;
      else if (code === 'EAGAIN') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      else throw new MachineError('output-not-written', `cannot write to stdout: ${code}`, { cause: error });
    }
  }
}

/** Writes one JSON document whose `schema` is `guest-abi/<kind>/1`. */
export const printJson = (kind: string, document: object): void =>
  print(JSON.stringify({ schema: `guest-abi/${kind}/1`, ...document }, null, 1));

/** A line for the person at the terminal; never part of the result. */
export const warn = (text: string): void => void process.stderr.write(`guest-abi: ${text}\n`);

/** Says an error as the user asked for it, on stderr where stdout takes nothing, and gives the exit code. A bug of ours keeps its stack. */
export function reportError(error: unknown, json: boolean): ExitCode {
  const known = knownError(error);
  if (json) {
    const bug = { code: 'internal', message: String(error), given: null, nearest: [] };
    try {
      printJson('error', { error: known?.toJSON() ?? bug });
    } catch (unwritten) {
      return reportError(unwritten, false);
    }
  } else if (known) warn(known.message);
  if (known) return known.exitCode;
  process.stderr.write(`guest-abi: internal error, please report it: ${(error as Error)?.stack ?? String(error)}\n`);
  return EXIT.cannot;
}
