/**
 * The guest of the benchmarks of migration and snapshots, under this monitor or under QEMU: the witness, which writes to its memory all the time and beats
 * on COM1. What happens to it is timed from outside, by when its beats come: neither monitor's own word counts, nor the guest's TSC, which
 * both let stand still while it does not run.
 */
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MachineError } from '../../corpora/errors.js';
import { encodeWitnessRequest } from '../../corpora/witness-abi.js';
import { probeImagePath } from '../../guest-probes/images.js';
import type { Accelerator } from '../../reference-vmm/cpu-model/properties.js';
import { RunMachine } from '../cli/run-machine.js';
import { QemuProcess } from '../import/qemu-process.js';
import type { QmpClient } from '../import/qmp-client.js';
import { cachedQemu } from '../packages/qemu-trees.js';

export const RELEASE = '11.1';
/** Guest RAM, MiB. */
export const SIZES = [16, 128] as const;
/** Pages that the guest writes, over and over. */
const PAGES = 64;
const DEADLINE_MS = 30_000;
/** How long it has run before anything is done to it: all of its pages are written then. */
const WARM_MS = 300;
const ENDS = ['completed', 'failed', 'cancelled'];

/** When each beat came, in milliseconds, and its number modulo 256. */
export class Beats {
  readonly #seen: { readonly at: number; readonly number: number }[] = [];
  #wake = (): void => undefined;

  take(bytes: Uint8Array): void {
    const at = performance.now();
    for (const number of bytes) this.#seen.push({ at, number });
    this.#wake();
  }

  /** The first that comes. Throws `MachineError` `bench-no-beat`. */
  async first(): Promise<{ readonly at: number; readonly number: number }> {
    const late = performance.now() + DEADLINE_MS;
    while (this.#seen.length === 0 && performance.now() < late)
      await Promise.race([
        sleep(DEADLINE_MS, undefined, { ref: false }),
        new Promise<void>((done) => (this.#wake = done)),
      ]);
    const [first] = this.#seen;
    if (!first) throw new MachineError('bench-no-beat', `the guest did not beat within ${DEADLINE_MS} ms`);
    return first;
  }

  /** The last that came. Precondition: there was one. */
  get last(): { readonly at: number; readonly number: number } {
    return this.#seen.at(-1)!;
  }

  /** The longest time between two beats, of those that came after `from`. */
  longestGap(from: number): number {
    return Math.max(...this.#seen.map(({ at }, i) => (at > from ? at - (this.#seen[i - 1]?.at ?? at) : 0)));
  }
}

/** Where a guest comes from that is not booted. */
export type Origin = { readonly incoming: string } | { readonly file: string } | null;

export interface BeatingGuest extends AsyncDisposable {
  readonly qmp: QmpClient;
  readonly beats: Beats;
}

/** `folder` holds what guests need, and is the caller's; `name` tells those apart that are there at a time. */
export interface Place {
  readonly memory: number;
  readonly folder: string;
  readonly name: string;
}

/** One of the two that are compared. */
export interface Subject {
  readonly name: string;
  start(place: Place, origin: Origin): Promise<BeatingGuest>;
}

const request = (folder: string): string => join(folder, 'request');

/** What is to be there before a guest starts in `folder`. */
export const prepareFolder = (folder: string): void =>
  writeFileSync(
    request(folder),
    encodeWitnessRequest({
      ...{ cpuid: [0, 1].map((leaf) => ({ leaf, subleaf: 0 })), msrs: [0x1b] },
      ...{ seed: 1, beats: true, lastPages: PAGES },
    }),
  );

export const ours: Subject = {
  name: 'ours',
  async start({ memory, folder, name }, origin) {
    const beats = new Beats();
    const pair = ['--machine', 'pc-i440fx-2.4', '--cpu', 'Nehalem', '--memory', `${memory}`];
    const image = ['--kernel', probeImagePath('witness'), '--initrd', request(folder)];
    const args = !origin
      ? [...pair, ...image]
      : 'incoming' in origin
        ? [...pair, '--incoming', origin.incoming]
        : ['--restore', origin.file, '--lazy'];
    const machine = await RunMachine.start(join(folder, `${name}.qmp`), args, (bytes) => beats.take(bytes));
    return { qmp: machine.qmp, beats, [Symbol.asyncDispose]: () => machine[Symbol.asyncDispose]() };
  },
};

/** Throws `MachineError` `bench-no-qemu` where QEMU is not in the cache. */
export async function qemuSubject(accel: Accelerator): Promise<Subject> {
  const launcher = await cachedQemu(RELEASE);
  if (!launcher) throw new MachineError('bench-no-qemu', `QEMU ${RELEASE} is not in the cache: guest-abi lab setup`);
  return {
    name: `QEMU ${RELEASE} (${accel})`,
    async start({ memory, folder, name }, origin) {
      const beats = new Beats();
      const com1 = join(folder, `${name}.com1`);
      const server = createServer((socket) =>
        socket.on('data', (bytes) => beats.take(bytes)).on('error', () => undefined),
      );
      server.listen(com1);
      await once(server, 'listening');
      const machine = [
        '-accel',
        accel,
        '-machine',
        'pc',
        '-cpu',
        'Nehalem',
        '-m',
        `${memory}`,
        '-serial',
        `unix:${com1}`,
      ];
      const image = ['-kernel', probeImagePath('witness'), '-initrd', request(folder)];
      const from = !origin ? [] : ['-incoming', 'incoming' in origin ? origin.incoming : `file:${origin.file}`];
      const end = (): void => {
        server.close();
        rmSync(com1, { force: true });
      };
      try {
        const process = await QemuProcess.start(launcher, [...machine, ...image, ...from], false);
        return {
          qmp: process.qmp,
          beats,
          [Symbol.asyncDispose]: async () => {
            await process[Symbol.asyncDispose]();
            end();
          },
        };
      } catch (error) {
        end();
        throw error;
      }
    },
  };
}

/** Lets a guest beat, and write all of its pages. */
export async function warm({ beats }: BeatingGuest): Promise<void> {
  await beats.first();
  await sleep(WARM_MS);
}

/**
 * `migrate` to `uri`, to its end: when it was asked for, and when the monitor said that it is complete. Throws `MachineError` `bench-migrate`
 * where it did not complete.
 */
export async function migrate(
  { qmp }: BeatingGuest,
  uri: string,
  ...capabilities: readonly string[]
): Promise<{ readonly begin: number; readonly end: number }> {
  const wanted = ['events', ...capabilities].map((capability) => ({ capability, state: true }));
  await qmp.execute('migrate-set-capabilities', { capabilities: wanted });
  const over = qmp.waitFor('MIGRATION', DEADLINE_MS, (data) => ENDS.includes((data as { status: string }).status));
  const begin = performance.now();
  await qmp.execute('migrate', { uri });
  const { data } = await over;
  const end = performance.now();
  if ((data as { status: string }).status === 'completed') return { begin, end };
  throw new MachineError('bench-migrate', `to ${uri}: ${JSON.stringify(await qmp.execute('query-migrate'))}`);
}
