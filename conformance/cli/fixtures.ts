/** What the tests of commands share: what a command left behind. */
import { readdirSync, readFileSync } from 'node:fs';

/** Command lines of the processes whose environment has GUEST_ABI_TEST set to `mark`: what a command that was given it left running. */
export function processesMarked(mark: string): string[] {
  const found: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`GUEST_ABI_TEST=${mark}`))
        found.push(readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '));
    } catch {
      // It ended meanwhile, or belongs to somebody else.
    }
  }
  return found;
}
