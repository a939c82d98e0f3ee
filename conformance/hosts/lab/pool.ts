/** Opens lab hosts by name: boots in parallel as the cores allow, within the memory that the machine has. */
import { availableParallelism, freemem } from 'node:os';
import { MachineError } from '../../../corpora/errors.js';
import { cacheRoot } from '../../packages/cache.js';
import { type Progress, silent } from '../../packages/progress.js';
import { cachedQemu, type QemuLauncher } from '../../packages/qemu-trees.js';
import { ensureHostImages, ensureQemuImage } from './host-images.js';
import { ensureInitrd } from './initrd.js';
import { labKernels } from './kernels.js';
import { LabHost, type TakeTurn } from './lab-host.js';
import { HOST_MIB, type LabMachineSpec } from './lab-machine.js';
import { chooseLabHosts, type LabChoice, labHostId } from './names.js';

/**
 * The QEMU releases that lab hosts run on, best first: 11.1 emulates more of a CPU (all XSAVE components, 80000021).
 * 7.2 is none of them: it panics newer kernels.
 */
export const LAB_QEMUS = ['11.1', '10.0'] as const;

/** The best of `LAB_QEMUS` that is in the cache, or null. */
export async function cachedLabQemu(root: string): Promise<QemuLauncher | null> {
  for (const release of LAB_QEMUS) {
    const launcher = await cachedQemu(release, root).catch(() => null);
    if (launcher) return launcher;
  }
  return null;
}

export interface LabOptions {
  /** Cache folder; default `cacheRoot()`. */
  readonly root?: string;
  readonly onProgress?: Progress;
  /** QEMU releases that are to run inside. */
  readonly qemus?: readonly string[];
}

/**
 * Opens the lab hosts that the names stand for (each without `lab:`), each once. Uses only what is in the cache.
 * Throws `InputError` on a wrong name, `MachineError` where the lab is not set up, does not fit into memory, or a host
 * does not come up; then all others are ended.
 */
export async function openLabHosts(names: readonly string[], options: LabOptions = {}): Promise<LabHost[]> {
  const root = options.root ?? cacheRoot();
  const kernels = await labKernels(root);
  const choices = new Map(
    names.flatMap((name) => chooseLabHosts(name, kernels)).map((choice) => [labHostId(choice), choice]),
  );
  requireMemory(choices.size);
  const qemu = await cachedLabQemu(root);
  if (!qemu) throw new MachineError('lab-empty', 'no QEMU for lab hosts is in the cache: run guest-abi lab setup');
  const images = {
    ...(await ensureHostImages(root)),
    ...(options.qemus?.length ? { qemus: await ensureQemuImage(options.qemus, root) } : {}),
  };
  return bootAll([...choices.values()], root, { qemu, images }, options.onProgress ?? silent);
}

function requireMemory(hosts: number): void {
  const needed = hosts * HOST_MIB;
  const free = Math.floor(freemem() / 2 ** 20);
  if (needed <= free) return;
  throw new MachineError(
    'lab-memory',
    `${hosts} lab hosts need ${needed} MiB of memory, and ${free} MiB are free; name fewer`,
  );
}

async function bootAll(
  choices: readonly LabChoice[],
  root: string,
  parts: Pick<LabMachineSpec, 'qemu' | 'images'>,
  onProgress: Progress,
): Promise<LabHost[]> {
  const takeTurn = turns(availableParallelism());
  let done = 0;
  const starts = choices.map(async (choice) => {
    const initrd = await ensureInitrd(choice.kernel, { root, offline: true });
    const host = await LabHost.start(labHostId(choice), { ...choice, ...parts, initrd }, takeTurn);
    onProgress({ step: 'booting lab hosts', done: ++done, total: choices.length });
    return host;
  });
  const results = await Promise.allSettled(starts);
  const hosts = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const failure = results.find((result) => result.status === 'rejected');
  if (!failure) return hosts;
  await Promise.all(hosts.map((host) => host[Symbol.asyncDispose]()));
  throw failure.reason;
}

/** At most `count` works at a time, in the order of asking. */
export function turns(count: number): TakeTurn {
  const waiting: (() => void)[] = [];
  let free = count;
  return async (work) => {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else free++;
    }
  };
}
