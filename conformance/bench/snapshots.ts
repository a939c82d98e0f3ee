/** Snapshots beside QEMU's: a running guest is saved and gone on with in a new process, timed by its beats; and what a live save costs a guest that writes all of its memory. */
import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { GuestAbiError, MachineError } from '../../corpora/errors.js';
import { featureName } from '../../corpora/features.js';
import type { Accelerator } from '../../reference-vmm/cpu-model/properties.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { LiveMachine } from '../../reference-vmm/live-machine.js';
import { Machine } from '../../reference-vmm/monitor.js';
import { writeSnapshot } from '../../reference-vmm/snapshot/file.js';
import { startLiveSave } from '../../reference-vmm/snapshot/live-save.js';
import { prepareLiveSave } from '../../reference-vmm/snapshot/save-thread.js';
import { migrate, ours, prepareFolder, qemuSubject, SIZES, type Subject, warm } from './beating-guest.js';
import { type Beside, beside, held, type Measurement, type Row } from './row.js';
import { quartiles, type Spread } from './spread.js';

/** Milliseconds, where nothing else is said. */
export interface SnapshotRow {
  /** Guest RAM, MiB. */
  readonly memory: number;
  readonly rounds: number;
  /** From the request to the whole file; ours is synced then, QEMU's is not. */
  readonly live: Beside;
  /** The longest time between two beats of the guest meanwhile. */
  readonly pause: Beside;
  /** From the start of a process to the first beat of the guest in it. */
  readonly restore: Beside;
  /** Ours alone, of a guest that writes to all of its memory: */
  readonly writing: {
    readonly stopped: Spread;
    readonly live: Spread;
    /** Its writes a second, before and while it is saved. */
    readonly before: Spread;
    readonly during: Spread;
    /** The longest time without a write, as another thread saw it. */
    readonly stall: Spread;
  };
}

/** Milliseconds until a beat that was made is here. */
const SETTLE_MS = 50;
const ROUNDS = 5;

export const snapshots: Measurement = {
  name: 'snapshots',
  rows: async () => {
    const rows: Row[] = [];
    for (const accel of ['tcg', 'kvm'] as const)
      try {
        const { name } = await qemuSubject(accel);
        const measured = (await snapshotBench(ROUNDS, SIZES, accel)).flatMap((row) => rowsOf(row, accel, name));
        // What is of ours alone stands there once.
        rows.push(...measured.filter(({ id }) => !rows.some((row) => row.id === id)));
      } catch (error) {
        if (!(error instanceof GuestAbiError)) throw error;
        console.error(`bench: snapshots beside QEMU under ${accel}: ${error.message}`);
      }
    return rows;
  },
};

function rowsOf({ memory, live, pause, restore, writing }: SnapshotRow, accel: Accelerator, name: string): Row[] {
  const row = (id: string, what: string, times: Beside): Row =>
    held(
      {
        id: `${id}-${memory}-${accel}`,
        what: `${what} of ${memory} MiB that writes`,
        ...{ unit: 'ms', value: times.ours, goal: { kind: 'at-most', value: 1 } },
      },
      name,
      times.qemu,
    );
  const own = (id: string, what: string, value: Spread): Row => ({
    ...{ id: `${id}-${memory}`, what: `${what}, a guest that writes all of its ${memory} MiB`, unit: 'ms', value },
  });
  return [
    row('live-save', 'live save, from the command to its end (ours is synced), of a guest', live),
    row('live-save-pause', 'longest time without a beat during it, a guest', pause),
    row('restore', 'restore, from the start of a process to the first beat in it, of a guest', restore),
    own('save-written', 'stopped save, synced', writing.stopped),
    own('live-save-written', 'live save, synced', writing.live),
    own('live-save-stall', 'longest time without a write during a live save', writing.stall),
    held(
      {
        id: `live-save-speed-${memory}`,
        what: `writes of that guest during a live save`,
        unit: '/s',
        value: writing.during,
      },
      'before it',
      writing.before,
    ),
  ];
}

/** Rounds of both take turns. Throws `MachineError` `bench-no-qemu` where QEMU is not in the cache. */
export async function snapshotBench(
  rounds: number,
  sizes: readonly number[] = SIZES,
  accel: Accelerator = 'tcg',
): Promise<SnapshotRow[]> {
  const subjects = [ours, await qemuSubject(accel)] as const;
  const folder = await mkdtemp(join(tmpdir(), 'guest-abi-bench-'));
  prepareFolder(folder);
  const rows: SnapshotRow[] = [];
  try {
    for (const memory of sizes) {
      const times = await beside(subjects, rounds, (subject) => saveAndRestore(subject, memory, folder));
      const writing = await writingGuest(rounds, memory, folder);
      rows.push({ memory, rounds, live: times('live'), pause: times('pause'), restore: times('restore'), writing });
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  return rows;
}

interface Times {
  readonly live: number;
  readonly pause: number;
  readonly restore: number;
}

async function saveAndRestore(subject: Subject, memory: number, folder: string): Promise<Times> {
  const file = join(folder, 'image');
  const place = { memory, folder, name: 'guest' };
  let saved: { readonly live: number; readonly pause: number };
  {
    await using guest = await subject.start(place, null);
    await warm(guest);
    const { begin, end } = await migrate(guest, `file:${file}`, 'background-snapshot');
    // The beat that ends the last gap has come by then.
    await sleep(SETTLE_MS);
    saved = { live: end - begin, pause: guest.beats.longestGap(begin) };
  }
  const begin = performance.now();
  await using guest = await subject.start(place, { file });
  const { at } = await guest.beats.first();
  rmSync(file);
  return { ...saved, restore: at - begin };
}

const FIRST = 0x20_0000;
const dword = (value: number): number[] => [0, 8, 16, 24].map((bit) => (value >>> bit) & 0xff);
/** 0: mov $FIRST, %edi; 1: incl FIRST; incl (%edi); add $4096, %edi; cmp $end, %edi; jb 1b; jmp 0b */
const writer = (end: number): Uint8Array =>
  Uint8Array.from([
    ...[0xbf, ...dword(FIRST), 0xff, 0x05, ...dword(FIRST), 0xff, 0x07, 0x81, 0xc7, ...dword(0x1000)],
    ...[0x81, 0xff, ...dword(end), 0x72, 0xea, 0xeb, 0xe3],
  ]);
/** How long its speed is measured before, in milliseconds. */
const BEFORE_MS = 200;

async function writingGuest(rounds: number, memory: number, folder: string): Promise<SnapshotRow['writing']> {
  const times = {
    stopped: [] as number[],
    live: [] as number[],
    before: [] as number[],
    during: [] as number[],
    stall: [] as number[],
  };
  const file = join(folder, 'writing.snapshot');
  using kvm = openKvm();
  const made = Machine.create(kvm, resolve({ machine: 'pc-i440fx-2.4', cpu: 'Nehalem' }), {
    ...{ nameOf: featureName, allowAltered: true, forceFeatures: true, memoryBytes: memory << 20 },
    boot: { image: { name: 'writer', bytes: writer(memory << 20), protocol: 'flat' } },
  });
  if (made.kind === 'refused') throw new MachineError('bench-snapshot', made.reasons[0]!.message);
  using live = new LiveMachine(made.machine);
  live.machine.start();
  live.resume();
  prepareLiveSave();
  const ram = live.memory.regions[0]!.bytes;
  const counter = new DataView(ram.buffer, ram.byteOffset);
  const count = (): number => counter.getUint32(FIRST, true);
  // All of its memory is written once.
  while (count() < (memory << 20) / 4096) await sleep(10);
  for (let round = 0; round < rounds; round++) {
    const before = await watched(count, sleep(BEFORE_MS));
    const save = await startLiveSave(live, file);
    const during = await watched(count, save.done);
    const end = await save.done;
    times.live.push(end.kind === 'saved' ? end.totalMs : 0);
    times.before.push(before.rate * 1000);
    times.during.push(during.rate * 1000);
    times.stall.push(during.stall);
    live.pause();
    const begin = performance.now();
    writeSnapshot(file, live.machine.saveState());
    times.stopped.push(performance.now() - begin);
    live.resume();
  }
  return {
    stopped: quartiles(times.stopped),
    live: quartiles(times.live),
    before: quartiles(times.before),
    during: quartiles(times.during),
    stall: quartiles(times.stall),
  };
}

/** Looks at the guest's counter, over and over, until `end`: writes a millisecond, and the longest time without one. */
async function watched(count: () => number, end: Promise<unknown>): Promise<{ rate: number; stall: number }> {
  let over = false;
  void end.finally(() => {
    over = true;
  });
  const [start, first] = [performance.now(), count()];
  let [seen, at, stall] = [first, start, 0];
  while (!over) {
    await setImmediate();
    const [value, now] = [count(), performance.now()];
    if (value === seen) continue;
    stall = Math.max(stall, now - at);
    [seen, at] = [value, now];
  }
  return { rate: (seen - first) / (performance.now() - start), stall };
}
