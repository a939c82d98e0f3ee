/** A pair to its observation: in process beside the C floor and beside QEMU's two ways, and as a whole process. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { MachineError } from '../../corpora/errors.js';
import { peakMemory } from './machine-facts.js';
import { PAIR, pairToObservation } from './pair-to-observation.js';
import { qemuBoots } from './qemu-boots.js';
import { held, type Measurement, type Row } from './row.js';
import { quartiles, type Spread } from './spread.js';

const PROCESSES = 11;

export const probeLatency: Measurement = {
  name: 'probe',
  rows: async ({ rounds }) => {
    const { observed, closed, msrs } = await pairToObservation(rounds);
    const peak = peakMemory();
    const what = `${PAIR.machine}/${PAIR.cpu} to its decoded observation with ${msrs} MSRs, in process`;
    return [
      held(
        { id: 'probe-floor', what, unit: 'us', value: observed.ours, goal: { kind: 'at-most', value: 1.25 } },
        'C floor',
        observed.floor,
      ),
      held(
        { id: 'probe-floor-closed', what: 'the same until everything is closed', unit: 'us', value: closed.ours },
        'C floor',
        closed.floor,
      ),
      {
        id: 'probe-memory',
        what: 'peak memory of the process that did it',
        unit: 'MiB',
        value: peak,
        goal: { kind: 'at-most', value: 150 },
      },
      ...(await besideQemu(observed.ours)),
    ];
  },
};

/** QEMU needs a process for each boot; ours boots in one that stands, and both are told. */
async function besideQemu(ours: Spread): Promise<Row[]> {
  const { fastest, ordinary } = await qemuBoots(PAIR.cpu);
  const inProcess = ours.median / 1000;
  const whole = probeProcess();
  return [
    held(
      {
        id: 'qemu-fastest',
        what: `the probe to its record: ${fastest.what}`,
        unit: 'ms',
        value: fastest.ms,
        goal: { kind: 'at-least', value: 10 },
      },
      'ours, in process',
      inProcess,
    ),
    held(
      { id: 'qemu-ordinary', what: `the probe to its record: ${ordinary.what}`, unit: 'ms', value: ordinary.ms },
      'ours, in process',
      inProcess,
    ),
    held(
      { id: 'probe-process', what: 'guest-abi probe, whole process', unit: 'ms', value: whole },
      `${fastest.what}, whole process`,
      fastest.ms,
    ),
  ];
}

/** Wall time of `guest-abi probe`; its document is read, and holds the dump. */
function probeProcess(): Spread {
  const main = fileURLToPath(new URL('../cli/main.js', import.meta.url));
  const args = [
    main,
    'probe',
    '--machine',
    PAIR.machine,
    '--cpu',
    PAIR.cpu,
    '--allow-altered',
    '--force-features',
    '--json',
  ];
  return quartiles(
    Array.from({ length: PROCESSES }, () => {
      const start = performance.now();
      const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      const end = performance.now();
      const document = JSON.parse(stdout) as { vcpus?: readonly unknown[] };
      if (document.vcpus?.length !== 1)
        throw new MachineError('bench-no-dump', `guest-abi probe gave no dump: ${stderr}`);
      return end - start;
    }),
  );
}
