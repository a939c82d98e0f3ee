/** What a process holds: to be the same after a thousand guests as after a few. */
import { readdirSync, readFileSync } from 'node:fs';

export interface Holdings {
  readonly fds: number;
  readonly threads: number;
  /** Resident, MiB. */
  readonly memory: number;
  /** Those of the collector aside, whose number follows what is garbage at the moment. */
  readonly mappings: number;
}

/** A page of V8's heap: 256 KiB, anonymous. */
const HEAP_PAGE = 0x40000;

function isHeapPage(mapping: string): boolean {
  const [range = '', , , , inode] = mapping.split(/\s+/);
  const [start = 0, end = 0] = range.split('-').map((address) => Number.parseInt(address, 16));
  return inode === '0' && end - start === HEAP_PAGE;
}

export function holdings(): Holdings {
  globalThis.gc?.();
  return {
    fds: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
    memory: Math.round(process.memoryUsage.rss() / 1024 / 1024),
    mappings: readFileSync('/proc/self/maps', 'utf8')
      .split('\n')
      .filter((mapping) => mapping !== '' && !isHeapPage(mapping)).length,
  };
}

/** Slack of what comes and goes: sockets that linger, pools, the collector. MiB for memory. */
const SLACK: Holdings = { fds: 8, threads: 4, memory: 96, mappings: 64 };

/** What grew by more than it may. */
export const leaks = (before: Holdings, after: Holdings): string[] =>
  (Object.keys(SLACK) as (keyof Holdings)[])
    .filter((name) => after[name] > before[name] + SLACK[name])
    .map((name) => `${name} grew from ${before[name]} to ${after[name]}`);
