/** `lab setup` and `lab list`: what the lab needs, how much of it must be loaded, and what is there. */
import { InputError, MachineError } from '../../../corpora/errors.js';
import { trimApt } from '../../packages/apt.js';
import { cacheRoot } from '../../packages/cache.js';
import { cachedTree, ensureTree, plan, type TreeOptions, type TreeSpec } from '../../packages/package-tree.js';
import { silent } from '../../packages/progress.js';
import { qemuTreeSpec } from '../../packages/qemu-trees.js';
import { ensureHostImages } from './host-images.js';
import { BUSYBOX_TREE, ensureInitrd } from './initrd.js';
import {
  addKernel,
  DEFAULT_SUITES,
  ensureKernel,
  kernelTreeSpec,
  type LabKernel,
  labKernels,
  type OfferedKernel,
  offeredKernels,
} from './kernels.js';
import { type LabCpu, labCpus } from './lab-cpus.js';
import { cachedLabQemu, LAB_QEMUS } from './pool.js';

export interface LabSetupRequest {
  /** Suites whose newest kernels are wanted; where neither these nor versions are given: `DEFAULT_SUITES`. */
  readonly suites?: readonly string[];
  /** Kernels by version (`6.12.107`), sought in the wanted or default suites. */
  readonly versions?: readonly string[];
  /** QEMU releases to be subjects (`qemu-5.2`), beside the one that lab hosts run on. */
  readonly qemus?: readonly string[];
  /** Kernels given as files. */
  readonly files?: readonly { readonly vmlinuz: string; readonly modules: string }[];
}

export interface LabSetupOptions extends TreeOptions {
  /** Called once all sizes are known, before anything is loaded; throw to stop. */
  readonly onPlan?: (plan: LabPlan) => void | Promise<void>;
}

/** One thing to load. */
export interface LabPlanItem {
  readonly name: string;
  readonly bytes: number;
  readonly cached: boolean;
}

export interface LabPlan {
  readonly items: readonly LabPlanItem[];
  /** Bytes to download, package lists not counted (they were loaded to know this: up to 12 MB a suite). */
  readonly bytes: number;
}

export interface LabContents {
  readonly root: string;
  /** Version of the lab's QEMU, or null where it is not set up. */
  readonly qemu: string | null;
  readonly kernels: readonly LabKernel[];
  readonly cpus: readonly LabCpu[];
}

/** What of the lab is in the cache. */
export async function listLab(root: string = cacheRoot()): Promise<LabContents> {
  const qemu = await cachedLabQemu(root);
  return { root, qemu: qemu?.version ?? null, kernels: await labKernels(root), cpus: labCpus() };
}

/**
 * Sets the lab up: QEMU, busybox, kernels, initrds, images. What the cache has is not loaded again: a suite that has a
 * kernel there keeps it, unless `refresh` is set. Throws `MachineError` as `ensureTree` does.
 */
export async function setupLab(request: LabSetupRequest = {}, options: LabSetupOptions = {}): Promise<LabContents> {
  const root = options.root ?? cacheRoot();
  const onProgress = options.onProgress ?? silent;
  const offered = await wantedKernels(request, options);
  const qemus = new Set([await offeredRelease(options), ...(request.qemus ?? [])]);
  const specs = [...[...qemus].map(qemuTreeSpec), BUSYBOX_TREE];
  await options.onPlan?.(await planAll([...specs, ...offered.map(kernelTreeSpec)], options));
  for (const spec of specs) await ensureTree(spec, options);
  for (const kernel of offered) await ensureKernel(kernel, options);
  for (const { vmlinuz, modules } of request.files ?? []) await addKernel(vmlinuz, modules, root);
  await trimApt(root);
  onProgress({ step: 'images of lab hosts', done: null, total: null });
  await ensureHostImages(root);
  const contents = await listLab(root);
  for (const kernel of contents.kernels) await ensureInitrd(kernel, options);
  return contents;
}

async function planAll(specs: readonly TreeSpec[], options: TreeOptions): Promise<LabPlan> {
  const items: LabPlanItem[] = [];
  for (const spec of specs) {
    const { name, bytes, cached } = await plan(spec, options);
    items.push({ name, bytes, cached });
  }
  return { items, bytes: items.reduce((sum, item) => sum + item.bytes, 0) };
}

/** The kernels to load: those asked for that the cache has not. */
async function wantedKernels(request: LabSetupRequest, options: TreeOptions): Promise<OfferedKernel[]> {
  const cached = await labKernels(options.root ?? cacheRoot());
  const wanted: OfferedKernel[] = [];
  for (const version of request.versions ?? []) {
    if (options.refresh || !cached.some((kernel) => isVersion(kernel, version))) {
      wanted.push(await findVersion(version, request.suites ?? DEFAULT_SUITES, options));
    }
  }
  const onlyOthers = Boolean(request.versions?.length || request.files?.length);
  for (const suite of request.suites ?? (onlyOthers ? [] : DEFAULT_SUITES)) {
    if (request.versions?.length) break;
    if (!options.refresh && cached.some((kernel) => kernel.origin === suite)) continue;
    wanted.push((await offeredKernels(suite, options))[0]!);
  }
  return wanted;
}

const isVersion = (kernel: { readonly id: string; readonly version: string | null }, version: string): boolean =>
  kernel.id === version ||
  kernel.version === version ||
  (kernel.id.startsWith(version) && /[+-]/.test(kernel.id[version.length]!));

async function findVersion(version: string, suites: readonly string[], options: TreeOptions): Promise<OfferedKernel> {
  const newest: string[] = [];
  for (const suite of suites) {
    const offered = await offeredKernels(suite, options);
    const found = offered.find((kernel) => isVersion(kernel, version));
    if (found) return found;
    newest.push(offered[0]!.id);
  }
  throw new InputError(
    'unknown-kernel',
    `no kernel '${version}' in ${suites.join(', ')}; their newest: ${newest.join(', ')}`,
    {
      given: version,
      nearest: newest.slice(0, 3),
    },
  );
}

/** The best release for lab hosts that the cache has, or that its suite still offers: backports move on. */
async function offeredRelease(options: TreeOptions): Promise<string> {
  const cached = options.refresh ? null : await cachedLabQemu(options.root ?? cacheRoot());
  if (cached) return cached.name;
  for (const release of LAB_QEMUS) {
    const { packages } = await plan(qemuTreeSpec(release), options);
    if (
      packages.some(
        (file) => file.name === 'qemu-system-x86' && file.version.replace(/^\d+:/, '').startsWith(`${release}.`),
      )
    )
      return release;
  }
  throw new MachineError('qemu-version', `none of QEMU ${LAB_QEMUS.join(', ')} is offered by its suite any more`);
}

/** True where the lab can be used without loading anything. */
export async function isLabReady(root: string = cacheRoot()): Promise<boolean> {
  const ready = (await cachedLabQemu(root)) !== null && (await cachedTree(BUSYBOX_TREE.name, root)) !== null;
  return ready && (await labKernels(root)).length > 0;
}
