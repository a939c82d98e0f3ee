/** Live migration beside QEMU's: two processes each, over a unix socket, timed by the beats of the guest that is moved. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GuestAbiError, MachineError } from '../../corpora/errors.js';
import type { Accelerator } from '../../reference-vmm/cpu-model/properties.js';
import { migrate, ours, prepareFolder, qemuSubject, SIZES, type Subject, warm } from './beating-guest.js';
import { type Beside, beside, held, type Measurement, type Row } from './row.js';

/** Milliseconds until a destination listens: far more than it takes. */
const LISTEN_DEADLINE = 20_000;
const ROUNDS = 10;

/** Milliseconds. */
interface Times {
  /** From the command to the first beat at the destination. */
  readonly total: number;
  /** From the last beat at the source to the first at the destination. */
  readonly down: number;
}

export interface MigrationRow {
  /** Guest RAM, MiB. */
  readonly memory: number;
  readonly rounds: number;
  /** As `Times`. */
  readonly total: Beside;
  readonly down: Beside;
}

export const migration: Measurement = {
  name: 'migration',
  rows: async () => {
    const rows: Row[] = [];
    for (const accel of ['tcg', 'kvm'] as const)
      try {
        const { name } = await qemuSubject(accel);
        for (const row of await migrationBench(ROUNDS, SIZES, accel)) rows.push(...rowsOf(row, accel, name));
      } catch (error) {
        if (!(error instanceof GuestAbiError)) throw error;
        console.error(`bench: migration beside QEMU under ${accel}: ${error.message}`);
      }
    return rows;
  },
};

function rowsOf({ memory, total, down }: MigrationRow, accel: Accelerator, name: string): Row[] {
  const row = (part: 'total' | 'down', span: string, times: Beside): Row =>
    held(
      {
        id: `migration-${memory}-${part}-${accel}`,
        what: `migration of a guest of ${memory} MiB that writes: ${span}`,
        ...{ unit: 'ms', value: times.ours, goal: { kind: 'at-most', value: 1 } },
      },
      name,
      times.qemu,
    );
  return [
    row('total', 'total, from the command to its first beat at the destination', total),
    row('down', 'down, from its last beat at the source to its first at the destination', down),
  ];
}

/** Rounds of both take turns. Throws `MachineError` `bench-no-qemu` where QEMU is not in the cache. */
export async function migrationBench(
  rounds: number,
  sizes: readonly number[] = SIZES,
  accel: Accelerator = 'tcg',
): Promise<MigrationRow[]> {
  const subjects = [ours, await qemuSubject(accel)] as const;
  const folder = await mkdtemp(join(tmpdir(), 'guest-abi-bench-'));
  prepareFolder(folder);
  const rows: MigrationRow[] = [];
  try {
    for (const memory of sizes) {
      const times = await beside(subjects, rounds, (subject) => migrateOnce(subject, memory, folder));
      rows.push({ memory, rounds, total: times('total'), down: times('down') });
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  return rows;
}

async function migrateOnce(subject: Subject, memory: number, folder: string): Promise<Times> {
  const link = join(folder, 'link');
  await rm(link, { force: true });
  const place = (name: string) => ({ memory, folder, name });
  await using source = await subject.start(place('source'), null);
  await using destination = await subject.start(place('destination'), { incoming: `unix:${link}` });
  // A control socket may answer before the destination listens.
  for (const until = performance.now() + LISTEN_DEADLINE; !existsSync(link) && performance.now() < until; )
    await sleep(20);
  await warm(source);
  const { begin } = await migrate(source, `unix:${link}`);
  const first = await destination.beats.first();
  const { last } = source.beats;
  // Who lost a beat or gave one twice has not moved the guest that was there.
  if (first.number !== (last.number + 1) % 256)
    throw new MachineError('bench-beats', `${subject.name}: beat ${first.number} came after ${last.number}`);
  return { total: first.at - begin, down: first.at - last.at };
}
