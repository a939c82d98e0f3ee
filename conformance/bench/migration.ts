/** Live migration beside QEMU's: two processes each, over a unix socket, driven by QMP and timed by what `query-migrate` says. */
import { existsSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestAbiError, MachineError } from '../../corpora/errors.js';
import { encodeProbeRequest } from '../../corpora/probe-abi.js';
import { probeImagePath } from '../../guest-probes/images.js';
import type { Accelerator } from '../../reference-vmm/cpu-model/properties.js';
import { RunMachine } from '../cli/run-machine.js';
import { QemuProcess } from '../import/qemu-process.js';
import type { QmpClient } from '../import/qmp-client.js';
import { cachedQemu, type QemuLauncher } from '../packages/qemu-trees.js';
import { held, type Measurement, type Row } from './row.js';
import { quartiles, type Spread } from './spread.js';

const RELEASE = '11.1';
const SIZES = [16, 128] as const;
const DEADLINE_MS = 30_000;

/** Milliseconds. */
interface Times {
  readonly total: number;
  readonly downtime: number;
}

export interface MigrationRow {
  /** Guest RAM, MiB. */
  readonly memory: number;
  readonly rounds: number;
  readonly total: Beside;
  readonly downtime: Beside;
}

interface Beside {
  readonly ours: Spread;
  readonly qemu: Spread;
}

/** One side of a migration that can be asked over QMP. */
interface Side extends AsyncDisposable {
  readonly qmp: QmpClient;
}
/** Milliseconds until a destination listens: far more than it takes. */
const LISTEN_DEADLINE = 20_000;

type Starter = (args: { memory: number; folder: string; incoming: string | null; name: string }) => Promise<Side>;

const ROUNDS = 10;

export const migration: Measurement = {
  name: 'migration',
  rows: async () => {
    const rows: Row[] = [];
    for (const accel of ['tcg', 'kvm'] as const)
      try {
        rows.push(...(await migrationBench(ROUNDS, SIZES, accel)).flatMap((row) => rowsOf(row, accel)));
      } catch (error) {
        if (!(error instanceof GuestAbiError)) throw error;
        console.error(`bench: migration beside QEMU under ${accel}: ${error.message}`);
      }
    return rows;
  },
};

function rowsOf({ memory, total, downtime }: MigrationRow, accel: Accelerator): Row[] {
  const row = (part: 'total' | 'downtime', what: string, { ours, qemu }: Beside): Row =>
    held(
      {
        id: `migration-${memory}-${part}-${accel}`,
        what: `migration of ${memory} MiB, ${what}`,
        unit: 'ms',
        value: ours,
        goal: { kind: 'at-most', value: 1 },
      },
      `QEMU ${RELEASE} (${accel})`,
      // QEMU counts whole milliseconds.
      { ...qemu, median: Math.max(qemu.median, 1) },
    );
  return [
    row('total', 'total', total),
    row('downtime', "down (ours until the destination runs, QEMU's until all is sent)", downtime),
  ];
}

/** Rounds of both take turns. Throws `MachineError` `bench-no-qemu` where QEMU is not in the cache. */
export async function migrationBench(
  rounds: number,
  sizes: readonly number[] = SIZES,
  accel: Accelerator = 'tcg',
): Promise<MigrationRow[]> {
  const launcher = await cachedQemu(RELEASE);
  if (!launcher) throw new MachineError('bench-no-qemu', `QEMU ${RELEASE} is not in the cache: guest-abi lab setup`);
  const folder = await mkdtemp(join(tmpdir(), 'guest-abi-bench-'));
  writeFileSync(join(folder, 'request'), encodeProbeRequest({ msrs: [] }));
  const rows: MigrationRow[] = [];
  try {
    for (const memory of sizes) {
      const [ours, theirs]: [Times[], Times[]] = [[], []];
      for (let round = 0; round < rounds; round++) {
        ours.push(await migrateOnce(startOurs, memory, folder));
        theirs.push(await migrateOnce(qemuStarter(launcher, accel), memory, folder));
      }
      const beside = (part: keyof Times): Beside => ({
        ours: quartiles(ours.map((times) => times[part])),
        qemu: quartiles(theirs.map((times) => times[part])),
      });
      rows.push({ memory, rounds, total: beside('total'), downtime: beside('downtime') });
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  return rows;
}

const startOurs: Starter = ({ memory, folder, incoming, name }) => {
  const guest = incoming
    ? ['--incoming', incoming]
    : ['--kernel', probeImagePath('cpu-state'), '--initrd', `${folder}/request`];
  const pair = ['--machine', 'pc-i440fx-2.4', '--cpu', 'Nehalem', '--memory', `${memory}`];
  return RunMachine.start(join(folder, `${name}.qmp`), [...pair, ...guest]);
};

const qemuStarter =
  (launcher: QemuLauncher, accel: Accelerator): Starter =>
  async ({ memory, folder, incoming }) => {
    const machine = ['-accel', accel, '-machine', 'pc', '-cpu', 'Nehalem', '-m', `${memory}`, '-serial', 'null'];
    const guest = incoming ? ['-incoming', incoming] : [];
    const image = ['-kernel', probeImagePath('cpu-state'), '-initrd', `${folder}/request`];
    const process = await QemuProcess.start(launcher, [...machine, ...image, ...guest]);
    if (!incoming) await process.qmp.execute('cont');
    return process;
  };

async function migrateOnce(start: Starter, memory: number, folder: string): Promise<Times> {
  const link = join(folder, 'link');
  const uri = `unix:${link}`;
  await rm(link, { force: true });
  await using source = await start({ memory, folder, incoming: null, name: 'source' });
  await using _ = await start({ memory, folder, incoming: uri, name: 'destination' });
  // The guest has dumped by then, and waits for a command.
  // A control socket may answer before the destination listens.
  for (const until = performance.now() + LISTEN_DEADLINE; !existsSync(link) && performance.now() < until; )
    await new Promise((resolve) => setTimeout(resolve, 20));
  await new Promise((resolve) => setTimeout(resolve, 300));
  await source.qmp.execute('migrate', { uri });
  for (const until = performance.now() + DEADLINE_MS; ; ) {
    const info = (await source.qmp.execute('query-migrate')) as {
      status: string;
      'total-time': number;
      downtime: number;
    };
    if (info.status === 'completed') return { total: info['total-time'], downtime: info.downtime };
    if (info.status === 'failed' || performance.now() > until)
      throw new MachineError('bench-migration', `a migration ended ${JSON.stringify(info)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
