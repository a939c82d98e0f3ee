/** `guest-abi gate` over all released pairs, as a whole process: the definitions of the work tree against those of its last commit. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { MachineError } from '../../corpora/errors.js';
import { packageFile } from '../../corpora/package-root.js';
import type { Measurement } from './row.js';
import { quartiles } from './spread.js';

const PROCESSES = 3;

interface GateJson {
  readonly totals?: { readonly unchanged: number; readonly broken: number };
}

export const gateProcess: Measurement = {
  name: 'gate',
  rows: () => {
    const runs = Array.from({ length: PROCESSES }, gateOnce);
    return [
      {
        id: 'gate-process',
        what: `guest-abi gate, ${runs[0]!.pairs} released pairs before and after, whole process`,
        unit: 's',
        value: quartiles(runs.map(({ seconds }) => seconds)),
        goal: { kind: 'at-most', value: 8 },
      },
    ];
  },
};

/** Throws `MachineError` `bench-no-gate` where it did not look at any pair: outside a git repository, say. */
function gateOnce(): { readonly pairs: number; readonly seconds: number } {
  const args = [fileURLToPath(new URL('../cli/main.js', import.meta.url)), 'gate', '--base', 'HEAD', '--json'];
  const start = performance.now();
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', cwd: packageFile('.') });
  const seconds = (performance.now() - start) / 1000;
  const { totals } = JSON.parse(stdout) as GateJson;
  if (!totals || totals.unchanged + totals.broken === 0)
    throw new MachineError('bench-no-gate', `guest-abi gate looked at no pair: ${stderr.trim() || stdout.trim()}`);
  return { pairs: totals.unchanged + totals.broken, seconds };
}
