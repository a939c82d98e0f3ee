/** A pair to its observation: in process beside the C floor and beside QEMU's two ways, and as a whole process. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { MachineError } from '../../corpora/errors.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { msrExpectation } from '../probe-msrs.js';
import { bootRound } from './boot.js';
import { peakMemory } from './machine-facts.js';
import { PAIR, pairToObservation } from './pair-to-observation.js';
import { type Boots, qemuBoots } from './qemu-boots.js';
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
      ...(await besideQemu()),
    ];
  },
};

/** QEMU needs a process for each boot; ours boots in one that stands, and both are told. The probe does the same work under both. */
async function besideQemu(): Promise<Row[]> {
  const identity = resolve(PAIR);
  const { asked } = msrExpectation(identity);
  using kvm = openKvm();
  const own = () => bootRound(kvm, identity, asked).observed / 1000;
  const { fastest, ordinary } = await qemuBoots(PAIR.cpu, asked, own);
  const whole = probeProcess();
  const row = (id: string, { what, ms, ours }: Boots, goal?: Row['goal']): Row =>
    held(
      { id, what: `the same probe to its record: ${what}`, unit: 'ms', value: ms, ...(goal ? { goal } : {}) },
      'ours, in process',
      ours,
    );
  return [
    row('qemu-fastest', fastest, { kind: 'at-least', value: 10 }),
    row('qemu-ordinary', ordinary),
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
