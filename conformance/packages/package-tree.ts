/** Trees of unpacked Debian packages in the cache folder: planned with sizes, fetched once, then used without a network. */
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MachineError } from '../../corpora/errors.js';
import { openApt, type PackageFile, type PrivateApt } from './apt.js';
import { aptFailure } from './apt-failure.js';
import { type AptSource, machineSources } from './apt-sources.js';
import { cacheRoot, inCache, publishFile, publishFolder, requireSpace, withLock } from './cache.js';
import { runCommand } from './command.js';
import { type Progress, silent } from './progress.js';

export interface TreeSpec {
  /** Folder name in the cache, e.g. `qemu-10.0`. */
  readonly name: string;
  /** The suite that is wanted, preferred over the others. */
  readonly suite: string;
  /** Further suites that its dependencies come from, e.g. `trixie` for `trixie-backports`. */
  readonly also: readonly string[];
  /** Packages by name (or `name=version`), or how to choose them from the lists. */
  readonly packages: readonly string[] | ((apt: PrivateApt) => Promise<string[]>);
  readonly dependencies: boolean;
}

/** What was got: written beside the tree, and the proof of its origin. */
export interface TreeManifest {
  readonly schema: 'guest-abi/package-tree/1';
  readonly name: string;
  readonly suite: string;
  readonly mirrors: readonly string[];
  /** ISO 8601. */
  readonly obtained: string;
  readonly packages: readonly PackageFile[];
}

export interface PackageTree {
  /** Folder that the packages are unpacked into, as if it were `/`. */
  readonly root: string;
  readonly manifest: TreeManifest;
}

export interface TreeOptions {
  /** Cache folder; default `cacheRoot()`. */
  readonly root?: string;
  /** Apt sources of the machine; default those of /etc/apt. */
  readonly sources?: readonly AptSource[];
  readonly onProgress?: Progress;
  /** Ask the mirror for newer packages although the tree is there. */
  readonly refresh?: boolean;
  /** Never use the network: a tree that is not in the cache is an error. */
  readonly offline?: boolean;
}

export interface TreePlan {
  readonly name: string;
  /** True where the cache has this tree already; nothing needs loading then. */
  readonly cached: boolean;
  /** Bytes to download. */
  readonly bytes: number;
  readonly packages: readonly PackageFile[];
}

/** Unpacked packages take about this many times their download size (kernel modules and firmware, xz). */
const UNPACKED = 6;

/** The tree of `name` as it stands in the cache, or null. */
export async function cachedTree(name: string, root: string = cacheRoot()): Promise<PackageTree | null> {
  const folder = join(root, 'trees', name);
  const text = await readFile(join(folder, 'manifest.json'), 'utf8').catch(() => null);
  return text === null ? null : { root: join(folder, 'root'), manifest: readManifest(text, folder) };
}

function readManifest(text: string, folder: string): TreeManifest {
  try {
    const manifest = JSON.parse(text) as TreeManifest;
    if (manifest.schema === 'guest-abi/package-tree/1' && Array.isArray(manifest.packages)) return manifest;
  } catch {
    // Falls through to the same answer: the manifest is not one.
  }
  throw new MachineError('cache-damaged', `${folder}/manifest.json is not a package manifest; remove ${folder}`, {
    given: folder,
  });
}

/** What `ensureTree` would load. Fetches package lists where they are not fresh, but no package. */
export async function plan(spec: TreeSpec, options: TreeOptions = {}): Promise<TreePlan> {
  const cached = await cachedTree(spec.name, options.root);
  if (cached && !options.refresh)
    return { name: spec.name, cached: true, bytes: 0, packages: cached.manifest.packages };
  const { packages } = await choose(spec, options);
  const same = cached !== null && sameFiles(cached.manifest.packages, packages);
  return { name: spec.name, cached: same, bytes: same ? 0 : total(packages), packages };
}

/**
 * The tree of a spec, from the cache or fetched: resumable, checked against the signed index, whole or absent.
 * Throws `MachineError`: `no-network`, `package-signature`, `package-corrupt`, `cache-disk-full`, `not-cached` and others.
 */
export async function ensureTree(spec: TreeSpec, options: TreeOptions = {}): Promise<PackageTree> {
  const root = options.root ?? cacheRoot();
  if (!options.refresh) {
    const cached = await cachedTree(spec.name, root);
    if (cached) return cached;
  }
  return withLock(join(root, 'locks', `tree-${spec.name}`), async () => {
    const cached = await cachedTree(spec.name, root);
    if (cached && !options.refresh) return cached;
    const { apt, packages } = await choose(spec, options);
    if (cached && sameFiles(cached.manifest.packages, packages)) return cached;
    return load(spec, root, apt, packages, options.onProgress ?? silent);
  });
}

async function choose(spec: TreeSpec, options: TreeOptions): Promise<{ apt: PrivateApt; packages: PackageFile[] }> {
  if (options.offline) {
    throw new MachineError('not-cached', `${spec.name} is not in the cache, and --offline forbids loading it`, {
      given: spec.name,
    });
  }
  const sources = options.sources ?? (await machineSources());
  const apt = await openApt(options.root ?? cacheRoot(), [spec.suite, ...spec.also], sources);
  await apt.update({ force: options.refresh ?? false, ...(options.onProgress && { onProgress: options.onProgress }) });
  const names = typeof spec.packages === 'function' ? await spec.packages(apt) : spec.packages;
  const packages = spec.dependencies ? await apt.resolve(names, spec.suite) : await apt.locate(names, spec.suite);
  return { apt, packages };
}

async function load(
  spec: TreeSpec,
  root: string,
  apt: PrivateApt,
  packages: readonly PackageFile[],
  onProgress: Progress,
): Promise<PackageTree> {
  const archives = join(root, 'archives', spec.name);
  await inCache(archives, () => mkdir(archives, { recursive: true }));
  await requireSpace(archives, total(packages) * (1 + UNPACKED));
  await apt.download(packages, archives, `packages of ${spec.name}`, onProgress);
  const folder = join(root, 'trees', spec.name);
  await publishFolder(folder, async (temporary) => {
    await unpack(packages, archives, join(temporary, 'root'), spec.name, onProgress);
    await publishFile(join(temporary, 'manifest.json'), manifestOf(spec, apt, packages));
  });
  await rm(archives, { recursive: true, force: true });
  return (await cachedTree(spec.name, root))!;
}

async function unpack(
  packages: readonly PackageFile[],
  from: string,
  to: string,
  name: string,
  onProgress: Progress,
): Promise<void> {
  await mkdir(to);
  for (const [i, file] of packages.entries()) {
    onProgress({ step: `unpacking ${name}`, done: i + 1, total: packages.length });
    const result = await runCommand('dpkg-deb', ['--extract', join(from, file.file), to], { deadline: 300_000 });
    if (result.status !== 0) throw aptFailure(`unpacking ${file.file}`, result.stderr);
  }
}

const manifestOf = (spec: TreeSpec, apt: PrivateApt, packages: readonly PackageFile[]): string =>
  `${JSON.stringify(
    {
      schema: 'guest-abi/package-tree/1',
      name: spec.name,
      suite: spec.suite,
      mirrors: [...new Set(apt.sources.map((source) => source.uri))],
      obtained: new Date().toISOString(),
      packages,
    } satisfies TreeManifest,
    null,
    1,
  )}\n`;

const total = (files: readonly PackageFile[]): number => files.reduce((sum, file) => sum + file.bytes, 0);

const sameFiles = (a: readonly PackageFile[], b: readonly PackageFile[]): boolean =>
  a.length === b.length && a.every((file, i) => file.sha256 === b[i]!.sha256);
