/** The tables that a QEMU shows its guests, for many pairs: several boots at a time, given as they come. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SmpShape } from '../../../corpora/identity.js';
import { encodeProbeRequest } from '../../../corpora/probe-abi.js';
import { ONE_CPU } from '../../../corpora/smp.js';
import type { Accelerator } from '../../../reference-vmm/cpu-model/properties.js';
import { apicIdOf } from '../../../reference-vmm/cpu-model/topology.js';
import { makeFolder, removeFolder } from '../../ends-with-us.js';
import type { QemuLauncher } from '../../packages/qemu-trees.js';
import { QBOOT, type QemuGuestSpec } from './guest-arguments.js';
import { type BootEnd, bootOnce } from './one-boot.js';

export interface TableOptions {
  /** Default: one CPU. */
  readonly smp?: SmpShape;
  /** Default: tcg. */
  readonly accel?: Accelerator;
  /** Features that the accelerator lacks are shown all the same. Default: true. */
  readonly force?: boolean;
  /** MSRs that every vCPU reads. Default: none. */
  readonly msrs?: readonly number[];
  /** No new boot begins once it is aborted. */
  readonly signal?: AbortSignal;
}

/** A pair of this QEMU: its own names for both, properties allowed in `cpu`. */
export interface QemuPair {
  readonly machine: string;
  readonly cpu: string;
}

/** Boots pairs one by one: one request file for all of them. Dispose it. */
export class TableReader implements AsyncDisposable {
  readonly #folder: string;
  readonly #options: TableOptions;
  /** Names of QEMUs that came without it. */
  readonly #withoutQboot = new Set<string>();

  private constructor(folder: string, options: TableOptions) {
    this.#folder = folder;
    this.#options = options;
  }

  static async open(options: TableOptions = {}): Promise<TableReader> {
    const { smp = ONE_CPU, msrs = [] } = options;
    const folder = makeFolder('guest-abi-tables-');
    const apicIds = Array.from({ length: smp.cpus - 1 }, (_, i) => apicIdOf(smp, i + 1));
    await writeFile(join(folder, 'request'), encodeProbeRequest({ msrs, apicIds }));
    return new TableReader(folder, options);
  }

  /** What the guest of this pair sees under this QEMU. */
  read(launcher: QemuLauncher, { machine, cpu }: QemuPair): Promise<BootEnd> {
    const { smp = ONE_CPU, accel = 'tcg', force = true } = this.#options;
    const spec = { machine, cpu: force ? `${cpu},x-force-features=on` : cpu, smp, accel };
    return this.#boot(launcher, spec);
  }

  /** By the small firmware where this QEMU has it: it leaves the CPU as the other does, but for what `under-qemu.json` says of firmware anyhow. */
  async #boot(launcher: QemuLauncher, spec: QemuGuestSpec): Promise<BootEnd> {
    const request = join(this.#folder, 'request');
    // Other machine types have firmware of their own.
    const fast = spec.machine.startsWith('pc-') && !this.#withoutQboot.has(launcher.name);
    const end = await bootOnce(launcher, fast ? { ...spec, firmware: QBOOT } : spec, request);
    if (!fast || end.kind === 'observed' || !end.message.includes(QBOOT)) return end;
    this.#withoutQboot.add(launcher.name);
    return bootOnce(launcher, spec, request);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    removeFolder(this.#folder);
  }
}

/** Does `work` on each item, `workers` at a time; gives results as they come. Stops beginning once `signal` is aborted. */
export async function* inParallel<T, R>(
  items: Iterable<T>,
  workers: number,
  work: (item: T) => Promise<R>,
  signal?: AbortSignal,
): AsyncGenerator<R> {
  const waiting = items[Symbol.iterator]();
  const running = new Map<number, Promise<{ slot: number; result: R }>>();
  let slot = 0;
  const begin = (): void => {
    if (signal?.aborted) return;
    const next = waiting.next();
    if (next.done) return;
    const own = slot++;
    running.set(
      own,
      work(next.value).then((result) => ({ slot: own, result })),
    );
  };
  try {
    while (running.size < workers) {
      const before = slot;
      begin();
      if (slot === before) break;
    }
    while (running.size > 0) {
      const { slot: ended, result } = await Promise.race(running.values());
      running.delete(ended);
      begin();
      yield result;
    }
  } finally {
    await Promise.allSettled(running.values());
  }
}

/** A pair with what its guest saw. */
export interface TableRead extends QemuPair {
  readonly end: BootEnd;
}

/** The tables of many pairs of one QEMU, `workers` boots at a time (default: 2), in the order in which boots end. */
export async function* qemuTables(
  launcher: QemuLauncher,
  pairs: Iterable<QemuPair>,
  options: TableOptions & { readonly workers?: number } = {},
): AsyncGenerator<TableRead> {
  await using reader = await TableReader.open(options);
  const read = async (pair: QemuPair): Promise<TableRead> => ({ ...pair, end: await reader.read(launcher, pair) });
  yield* inParallel(pairs, options.workers ?? 2, read, options.signal);
}
