/** Resolving: one pair by the command line as a whole process, and every pair of every machine type in one process. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { PAIR } from './pair-to-observation.js';
import type { Measurement } from './row.js';
import { quartiles, type Spread } from './spread.js';

const PROCESSES = 15;
const script = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export const resolving: Measurement = {
  name: 'resolve',
  rows: () => {
    const all = resolveAll();
    return [
      {
        id: 'resolve-process',
        what: 'guest-abi resolve, whole process',
        unit: 'ms',
        value: resolveProcess(),
        goal: { kind: 'at-most', value: 150 },
      },
      {
        id: 'resolve-all',
        what: `all ${all.pairs} pairs resolved, CPUID`,
        unit: 'ms',
        value: all.milliseconds,
        goal: { kind: 'at-most', value: 5000 },
      },
      {
        id: 'resolve-all-memory',
        what: 'peak memory of that',
        unit: 'MiB',
        value: all.peakMemory,
        goal: { kind: 'at-most', value: 500 },
      },
    ];
  },
};

/** Wall time of `guest-abi resolve`, in milliseconds. */
function resolveProcess(): Spread {
  const args = [script('../cli/main.js'), 'resolve', '--machine', PAIR.machine, '--cpu', PAIR.cpu, '--json'];
  return quartiles(
    Array.from({ length: PROCESSES }, () => {
      const start = performance.now();
      const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      if (status !== 0) throw new Error(`guest-abi resolve: ${stderr}`);
      return performance.now() - start;
    }),
  );
}

/** What `resolve-all.js` prints. */
export interface ResolveAll {
  readonly pairs: number;
  readonly milliseconds: number;
  /** MiB. */
  readonly peakMemory: number;
}

/** Every pair, in a fresh process. */
function resolveAll(): ResolveAll {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script('resolve-all.js')], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`resolve-all: ${stderr}`);
  return JSON.parse(stdout) as ResolveAll;
}
