/** Cells per second of `guest-abi verify` as a whole process: on this machine's KVM and in the lab, with one and two at a time; and a whole release. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MachineError } from '../../corpora/errors.js';
import { listMachines } from '../../reference-vmm/cpu-model/resolve.js';
import { parseLog, type ResultLog } from '../../reports/result-log.js';
import { isLabReady } from '../hosts/lab/setup.js';
import type { Measurement } from './row.js';

const MAIN = fileURLToPath(new URL('../cli/main.js', import.meta.url));
const ALTERED = ['--allow-altered', '--force-features'];

interface Run {
  /** Cells whose guest came to a dump, or was refused as predicted. */
  readonly cells: number;
  readonly dumped: number;
  readonly seconds: number;
}

/** Throws `MachineError` `bench-not-whole` where the run was cut, or a cell broke: then its time means nothing. */
function run(args: readonly string[]): Run {
  const folder = mkdtempSync(join(tmpdir(), 'guest-abi-bench-'));
  try {
    const file = join(folder, 'run.jsonl');
    const start = performance.now();
    const { stderr } = spawnSync(process.execPath, [MAIN, 'verify', ...args, '--log', file], {
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
    });
    const seconds = (performance.now() - start) / 1000;
    const log = readLog(file, stderr);
    const dumped = log.cells.filter(({ life }) => (life?.steps.length ?? 0) > 0).length;
    return { cells: log.cells.length, dumped, seconds };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function readLog(file: string, stderr: string): ResultLog {
  try {
    const log = parseLog(readFileSync(file, 'utf8'), file);
    if (log.complete) return log;
  } catch {
    // Told below.
  }
  throw new MachineError('bench-not-whole', `guest-abi verify did not come to its end: ${stderr.trim()}`);
}

/** What of a run counts: cells with a dump, by the time of the whole process. */
const rate = ({ dumped, seconds }: Run): number => dumped / seconds;

const SOME = [
  '--machine',
  'pc-i440fx-2.*',
  '--cpu',
  'Nehalem*',
  '--cpu',
  'qemu64*',
  '--cpu',
  'kvm64*',
  '--cpu',
  'Westmere*',
  '--cpu',
  'Conroe*',
];

export const localRuns: Measurement = {
  name: 'verify-local',
  rows: () =>
    [1, 2].map((jobs) => {
      const done = run([...SOME, ...ALTERED, '--scenario', 'boot', '--jobs', `${jobs}`]);
      const what = `guest-abi verify, ${done.dumped} pairs booted on the local host, ${jobs} at a time`;
      return { id: `verify-local-${jobs}`, what, unit: '/s', value: rate(done) };
    }),
};

export const labRuns: Measurement = {
  name: 'verify-lab',
  rows: async () => {
    if (!(await isLabReady())) throw new MachineError('no-lab', 'no lab in the cache: guest-abi lab setup');
    return [1, 2].map((jobs) => {
      const pairs = ['--machine', 'pc-i440fx-2.*', '--cpu', 'qemu64', '--cpu', 'Nehalem', '--cpu', 'Westmere'];
      const done = run([...pairs, '--host', 'lab:6.12/rich', '--scenario', 'boot', '--jobs', `${jobs}`]);
      const what = `guest-abi verify, ${done.dumped} pairs booted on a lab host, its own boot included, ${jobs} at a time`;
      return { id: `verify-lab-${jobs}`, what, unit: '/s', value: rate(done) };
    });
  },
};

/** The release whose machine types are booted. */
const RELEASE = '11.1';
/** Each model once: unversioned names and aliases stand for these. */
const MODELS = '*-v*';

export const wholeRelease: Measurement = {
  name: 'release',
  rows: () => {
    const machines = listMachines().filter(({ releases }) => releases.includes(RELEASE));
    const names = machines.flatMap(({ name }) => ['--machine', name]);
    const done = run([...names, '--cpu', MODELS, ...ALTERED, '--scenario', 'boot', '--jobs', '2']);
    const what = `${done.cells} pairs, all machine types and versioned models of QEMU ${RELEASE}, on the local host: ${done.dumped} booted and dumped, the others refused as predicted`;
    return [{ id: 'release', what, unit: 's', value: done.seconds, goal: { kind: 'at-most', value: 30 } }];
  },
};
