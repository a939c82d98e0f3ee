/** What a process holds: to be the same after a thousand guests as after a few. */
import { readdirSync, readFileSync } from 'node:fs';

export interface Holdings {
  readonly fds: number;
  readonly threads: number;
  /** Resident, MiB. */
  readonly memory: number;
  readonly mappings: number;
}

export function holdings(): Holdings {
  globalThis.gc?.();
  const lines = (file: string): number => readFileSync(file, 'utf8').split('\n').length - 1;
  return {
    fds: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
    memory: Math.round(process.memoryUsage.rss() / 1024 / 1024),
    mappings: lines('/proc/self/maps'),
  };
}

/** Slack of what comes and goes: sockets that linger, pools, the collector. MiB for memory. */
const SLACK: Holdings = { fds: 8, threads: 4, memory: 96, mappings: 64 };

/** What grew by more than it may. */
export const leaks = (before: Holdings, after: Holdings): string[] =>
  (Object.keys(SLACK) as (keyof Holdings)[])
    .filter((name) => after[name] > before[name] + SLACK[name])
    .map((name) => `${name} grew from ${before[name]} to ${after[name]}`);
