/** What the scripts beside the command line have in common: one clear line for bad options, and for a machine that cannot. */
import { EXIT, GuestAbiError } from '../../corpora/errors.js';

/** Options as `read` has them; ends the process with exit code 2 where the user gave others. */
export function orUsage<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    console.error(`${name}: ${(error as Error).message}`);
    process.exit(EXIT.usage);
  }
}

/** The exit code of an expected error, told in one line. Throws any other on. */
export const toldAs =
  (name: string) =>
  (error: unknown): number => {
    if (!(error instanceof GuestAbiError)) throw error;
    console.error(`${name}: ${error.message}`);
    return error.exitCode;
  };
