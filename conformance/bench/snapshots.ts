/** Snapshots beside QEMU's: a running guest is saved and gone on with in a new process, both driven by QMP; and what a live save costs a guest that writes. */
import { rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { GuestAbiError, MachineError } from '../../corpora/errors.js';
import { featureName } from '../../corpora/features.js';
import { encodeProbeRequest } from '../../corpora/probe-abi.js';
import { probeImagePath } from '../../guest-probes/images.js';
import type { Accelerator } from '../../reference-vmm/cpu-model/properties.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { LiveMachine } from '../../reference-vmm/live-machine.js';
import { Machine } from '../../reference-vmm/monitor.js';
import { writeSnapshot } from '../../reference-vmm/snapshot/file.js';
import { startLiveSave } from '../../reference-vmm/snapshot/live-save.js';
import { prepareLiveSave } from '../../reference-vmm/snapshot/save-thread.js';
import { RunMachine } from '../cli/run-machine.js';
import { QemuProcess } from '../import/qemu-process.js';
import type { QmpClient } from '../import/qmp-client.js';
import { cachedQemu, type QemuLauncher } from '../packages/qemu-trees.js';
import { held, type Measurement, type Row } from './row.js';
import { quartiles, type Spread } from './spread.js';

const RELEASE = '11.1';
const SIZES = [16, 128] as const;
const DEADLINE_MS = 30_000;

/** Milliseconds, where nothing else is said. */
export interface SnapshotRow {
  /** Guest RAM, MiB. */
  readonly memory: number;
  readonly rounds: number;
  /** From the request to the whole file; ours is synced then, QEMU's is not. */
  readonly live: Beside;
  /** How long the guest stood still for it. */
  readonly pause: Beside;
  /** From the start of a process until the guest runs in it. */
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

interface Beside {
  readonly ours: Spread;
  readonly qemu: Spread;
}

/** A machine that can be asked over QMP. */
interface Side extends AsyncDisposable {
  readonly qmp: QmpClient;
}
interface Subject {
  readonly name: string;
  start(memory: number, folder: string): Promise<Side>;
  restore(memory: number, folder: string, file: string): Promise<Side>;
}

const ROUNDS = 5;

export const snapshots: Measurement = {
  name: 'snapshots',
  rows: async () => {
    const rows: Row[] = [];
    for (const accel of ['tcg', 'kvm'] as const)
      try {
        const measured = (await snapshotBench(ROUNDS, SIZES, accel)).flatMap((row) => rowsOf(row, accel));
        // What is of ours alone stands there once.
        rows.push(...measured.filter(({ id }) => !rows.some((row) => row.id === id)));
      } catch (error) {
        if (!(error instanceof GuestAbiError)) throw error;
        console.error(`bench: snapshots beside QEMU under ${accel}: ${error.message}`);
      }
    return rows;
  },
};

function rowsOf({ memory, live, pause, restore, writing }: SnapshotRow, accel: Accelerator): Row[] {
  const beside = (id: string, what: string, { ours, qemu }: Beside): Row =>
    held(
      {
        id: `${id}-${memory}-${accel}`,
        what: `${what} of ${memory} MiB`,
        unit: 'ms',
        value: ours,
        goal: { kind: 'at-most', value: 1 },
      },
      `QEMU ${RELEASE} (${accel})`,
      // QEMU counts whole milliseconds.
      { ...qemu, median: Math.max(qemu.median, 1) },
    );
  const own = (id: string, what: string, value: Spread): Row => ({
    ...{ id: `${id}-${memory}`, what: `${what}, a guest that writes ${memory} MiB`, unit: 'ms', value },
  });
  return [
    beside('live-save', 'live save (ours is synced)', live),
    beside('live-save-pause', 'guest stopped for a live save', pause),
    beside('restore', 'restore in a new process until it runs', restore),
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
  const launcher = await cachedQemu(RELEASE);
  if (!launcher) throw new MachineError('bench-no-qemu', `QEMU ${RELEASE} is not in the cache: guest-abi lab setup`);
  const folder = await mkdtemp(join(tmpdir(), 'guest-abi-bench-'));
  writeFileSync(join(folder, 'request'), encodeProbeRequest({ msrs: [] }));
  const rows: SnapshotRow[] = [];
  try {
    for (const memory of sizes) {
      const [ours, theirs]: [Times[], Times[]] = [[], []];
      for (let round = 0; round < rounds; round++) {
        ours.push(await saveAndRestore(reference, memory, folder));
        theirs.push(await saveAndRestore(qemuSubject(launcher, accel), memory, folder));
      }
      const beside = (part: keyof Times): Beside => ({
        ours: quartiles(ours.map((times) => times[part])),
        qemu: quartiles(theirs.map((times) => times[part])),
      });
      const writing = await writingGuest(rounds, memory, folder);
      rows.push({ memory, rounds, live: beside('live'), pause: beside('pause'), restore: beside('restore'), writing });
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  return rows;
}

const reference: Subject = {
  name: 'ours',
  start: (memory, folder) =>
    RunMachine.start(join(folder, 'ours.qmp'), [
      ...['--machine', 'pc-i440fx-2.4', '--cpu', 'Nehalem', '--memory', `${memory}`],
      ...['--kernel', probeImagePath('cpu-state'), '--initrd', `${folder}/request`],
    ]),
  restore: (_, folder, file) => RunMachine.start(join(folder, 'ours.qmp'), ['--restore', file, '--lazy']),
};

const qemuSubject = (launcher: QemuLauncher, accel: Accelerator): Subject => {
  const machine = (memory: number, folder: string): string[] => [
    ...['-accel', accel, '-machine', 'pc', '-cpu', 'Nehalem', '-m', `${memory}`, '-serial', 'null'],
    ...['-kernel', probeImagePath('cpu-state'), '-initrd', `${folder}/request`],
  ];
  return {
    name: 'qemu',
    async start(memory, folder) {
      const process = await QemuProcess.start(launcher, machine(memory, folder));
      await process.qmp.execute('cont');
      return process;
    },
    async restore(memory, folder, file) {
      const process = await QemuProcess.start(launcher, [...machine(memory, folder), '-incoming', `file:${file}`]);
      await process.qmp.execute('cont');
      return process;
    },
  };
};

interface Times {
  readonly live: number;
  readonly pause: number;
  readonly restore: number;
}

async function saveAndRestore(subject: Subject, memory: number, folder: string): Promise<Times> {
  const file = join(folder, `${subject.name}.image`);
  let saved: { readonly live: number; readonly pause: number };
  {
    await using side = await subject.start(memory, folder);
    const capabilities = [{ capability: 'background-snapshot', state: true }];
    await side.qmp.execute('migrate-set-capabilities', { capabilities });
    // The guest has dumped by then, and waits for a command.
    await sleep(300);
    await side.qmp.execute('migrate', { uri: `file:${file}` });
    const info = await until(side.qmp, 'query-migrate', ({ status }) => status === 'completed');
    saved = { live: info['total-time'] as number, pause: info.downtime as number };
  }
  const begin = performance.now();
  await using side = await subject.restore(memory, folder, file);
  await until(side.qmp, 'query-status', ({ running }) => running === true);
  const restore = performance.now() - begin;
  rmSync(file);
  return { ...saved, restore };
}

async function until(
  qmp: QmpClient,
  command: string,
  holds: (info: Record<string, unknown>) => boolean,
): Promise<Record<string, unknown>> {
  for (const end = performance.now() + DEADLINE_MS; ; ) {
    const info = (await qmp.execute(command)) as Record<string, unknown>;
    if (holds(info)) return info;
    if (info.status === 'failed' || performance.now() > end)
      throw new MachineError('bench-snapshot', `${command}: ${JSON.stringify(info)}`);
    await sleep(2);
  }
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
