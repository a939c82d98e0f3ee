/** Code that only V8's interpreter runs, for emulated hosts. */
import { setFlagsFromString } from 'node:v8';

/** The argument of an agent that shall do without compilers. */
export const WITHOUT_COMPILERS = '--interpret';

/**
 * Ends V8's compilers in this process: what they make is translated once more by an emulator, which costs more than it saves (measured: a third
 * of all CPU time). Called when all modules are there: with other flags V8 does not take Node's own modules from its cache, and a start takes a fifth longer.
 */
export function interpretOnly(): void {
  for (const flag of ['--no-opt', '--no-maglev', '--no-sparkplug', '--regexp-interpret-all']) setFlagsFromString(flag);
}
