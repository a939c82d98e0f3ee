/** Kernels of the lab: Debian's cloud kernels, the newest of a suite or by version, and kernels given as files. */
import { cp, mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { InputError, MachineError } from '../../../corpora/errors.js';
import type { PrivateApt } from '../../packages/apt.js';
import { openApt } from '../../packages/apt.js';
import { machineSources, parseStanzas } from '../../packages/apt-sources.js';
import { cacheRoot, publishFile, publishFolder, withLock } from '../../packages/cache.js';
import { cachedTree, ensureTree, type TreeOptions, type TreeSpec } from '../../packages/package-tree.js';

/** A kernel that is in the cache. */
export interface LabKernel {
  /** What host ids show: the release without its flavour, e.g. `6.12.107+deb13`, `5.10.0-46`. */
  readonly id: string;
  /** `uname -r`. */
  readonly release: string;
  /** Where it came from: a suite, or `file`. */
  readonly origin: string;
  /** Debian version of the package, or null for a kernel given as a file. */
  readonly version: string | null;
  readonly vmlinuz: string;
  /** Folder that holds its modules, at any depth. */
  readonly modules: string;
}

/** Suites whose newest kernels make the default set, oldest first: 5.10, 6.1, 6.12 and the two newest. */
export const DEFAULT_SUITES: readonly string[] = [
  'bullseye-security',
  'bookworm-security',
  'trixie',
  'sid',
  'trixie-backports',
];

const FLAVOUR = '-cloud-amd64';
const TREE_PREFIX = 'kernel-';

/** All kernels in the cache, by version. */
export async function labKernels(root: string = cacheRoot()): Promise<LabKernel[]> {
  const names = await readdir(join(root, 'trees')).catch((): string[] => []);
  const kernels = names.filter((name) => name.startsWith(TREE_PREFIX)).map((name) => readKernel(name, root));
  return (await Promise.all(kernels)).filter((kernel) => kernel !== null).sort((a, b) => compareVersions(a.id, b.id));
}

async function readKernel(name: string, root: string): Promise<LabKernel | null> {
  const own = await readFile(join(root, 'trees', name, 'kernel.json'), 'utf8').catch(() => null);
  if (own !== null) return JSON.parse(own) as LabKernel;
  const tree = await cachedTree(name, root);
  if (!tree) return null;
  const release = `${name.slice(TREE_PREFIX.length)}${FLAVOUR}`;
  return locateKernel(tree.root, release, tree.manifest.suite, tree.manifest.packages[0]!.version);
}

/** Finds image and modules in an unpacked tree, of either packaging: with a boot folder, or all below usr/lib/modules. */
async function locateKernel(root: string, release: string, origin: string, version: string): Promise<LabKernel> {
  const folders = [join(root, 'lib/modules', release), join(root, 'usr/lib/modules', release)];
  const images = [
    join(root, 'boot', `vmlinuz-${release}`),
    ...folders.flatMap((f) => [join(f, 'vmlinuz'), join(f, 'vmlinuz.unsigned')]),
  ];
  const vmlinuz = await firstThere(images);
  const modules = await firstThere(folders.map((folder) => join(folder, 'kernel')));
  if (!vmlinuz || !modules)
    throw new MachineError('cache-damaged', `${root} holds no kernel ${release}; remove it and load it again`);
  return { id: shortId(release), release, origin, version, vmlinuz, modules };
}

async function firstThere(paths: readonly string[]): Promise<string | null> {
  for (const path of paths)
    if (
      await stat(path).then(
        () => true,
        () => false,
      )
    )
      return path;
  return null;
}

const shortId = (release: string): string => release.replace(FLAVOUR, '');

/** A kernel that a suite offers. */
export interface OfferedKernel {
  readonly id: string;
  readonly suite: string;
  readonly version: string;
  /** The packages that hold its image and modules. */
  readonly packages: readonly string[];
}

/** The package tree of an offered kernel. */
export const kernelTreeSpec = (kernel: OfferedKernel): TreeSpec => ({
  name: `${TREE_PREFIX}${kernel.id}`,
  suite: kernel.suite,
  also: [],
  packages: kernel.packages.map((name) => `${name}=${kernel.version}`),
  dependencies: false,
});

/** Fetches an offered kernel unless it is in the cache. */
export async function ensureKernel(kernel: OfferedKernel, options: TreeOptions = {}): Promise<LabKernel> {
  const spec = kernelTreeSpec(kernel);
  await ensureTree(spec, options);
  return (await readKernel(spec.name, options.root ?? cacheRoot()))!;
}

/** Every kernel of a suite's own `linux` source (not of a newer kernel backported within it), newest first. */
export async function offeredKernels(suite: string, options: TreeOptions = {}): Promise<OfferedKernel[]> {
  const apt = await openApt(options.root ?? cacheRoot(), [suite], options.sources ?? (await machineSources()));
  await apt.update({ force: options.refresh ?? false, ...(options.onProgress && { onProgress: options.onProgress }) });
  const kernels = combine(suite, await kernelRecords(apt));
  if (kernels.length === 0)
    throw new MachineError('package-missing', `suite ${suite} offers no ${FLAVOUR.slice(1)} kernel`, { given: suite });
  return kernels;
}

interface KernelPackage {
  readonly name: string;
  readonly kind: string;
  readonly id: string;
  readonly version: string;
  readonly bytes: number;
}

const NAME = /^linux-(?<kind>image|binary|binary-unsigned|modules)-(?<id>\d.*)-cloud-amd64$/;

async function kernelRecords(apt: PrivateApt): Promise<KernelPackage[]> {
  const names = (await apt.names('linux-')).filter((name) => NAME.test(name));
  return parseKernelRecords(await apt.show(names));
}

/** Reads index records; keeps those of the sources `linux` and `linux-signed-amd64`. */
export function parseKernelRecords(text: string): KernelPackage[] {
  return parseStanzas(text).flatMap((record) => {
    const name = record.get('package') ?? '';
    const match = NAME.exec(name)?.groups;
    const source = (record.get('source') ?? name).split(' ')[0];
    if (!match || (source !== 'linux' && source !== 'linux-signed-amd64')) return [];
    return [
      { name, kind: match.kind!, id: match.id!, version: record.get('version')!, bytes: Number(record.get('size')) },
    ];
  });
}

/** An image package this small holds nothing: from 6.19 on it only pulls in the binary and the modules package. */
const EMPTY_PACKAGE = 100_000;

/** Makes kernels of their packages: the old packaging has one, the new one an image (signed or not) and modules. */
export function combine(suite: string, records: readonly KernelPackage[]): OfferedKernel[] {
  const ids = [...new Set(records.map((record) => record.id))];
  const kernels = ids.flatMap((id) => {
    const of = (kind: string) =>
      records.find((record) => record.id === id && record.kind === kind && record.bytes > EMPTY_PACKAGE);
    const image = of('image') ?? of('binary') ?? of('binary-unsigned');
    const modules = of('image') ?? of('modules');
    if (!image || !modules || image.version !== modules.version) return [];
    return [{ id, suite, version: image.version, packages: [...new Set([image.name, modules.name])] }];
  });
  return kernels.sort((a, b) => compareVersions(b.id, a.id));
}

/** Orders kernel ids by their numbers, left to right. */
export function compareVersions(a: string, b: string): number {
  const numbers = (id: string): number[] => (id.match(/\d+/g) ?? []).map(Number);
  const [left, right] = [numbers(a), numbers(b)];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? -1) - (right[i] ?? -1);
    if (difference !== 0) return difference;
  }
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * Puts a kernel given as files into the cache. `modules` is a folder with its modules, at any depth, named as the
 * release (`/lib/modules/6.12.1`). Throws `InputError` where one of them is not there, or where the cache has a Debian kernel of that release.
 */
export async function addKernel(vmlinuz: string, modules: string, root: string = cacheRoot()): Promise<LabKernel> {
  await requireInput(vmlinuz, 'a kernel image', (s) => s.isFile());
  await requireInput(modules, 'a folder of modules', (s) => s.isDirectory());
  const release = basename(resolve(modules));
  const folder = join(root, 'trees', `${TREE_PREFIX}${shortId(release)}`);
  if (await cachedTree(basename(folder), root)) {
    throw new InputError(
      'kernel-exists',
      `the cache has Debian's own kernel ${release}; name the modules' folder otherwise`,
      {
        given: modules,
      },
    );
  }
  const kernel: LabKernel = {
    id: shortId(release),
    release,
    origin: 'file',
    version: null,
    vmlinuz: join(folder, 'vmlinuz'),
    modules: join(folder, 'modules'),
  };
  await withLock(join(root, 'locks', `tree-${basename(folder)}`), () =>
    publishFolder(folder, async (temporary) => {
      await mkdir(join(temporary, 'modules'));
      await cp(vmlinuz, join(temporary, 'vmlinuz'));
      await cp(modules, join(temporary, 'modules'), {
        recursive: true,
        filter: (path) => !/\/(build|source)$/.test(path),
      });
      await publishFile(join(temporary, 'kernel.json'), `${JSON.stringify(kernel, null, 1)}\n`);
    }),
  );
  return kernel;
}

async function requireInput(
  path: string,
  what: string,
  isOne: (s: Awaited<ReturnType<typeof stat>>) => boolean,
): Promise<void> {
  const good = await stat(path).then(isOne, () => false);
  if (!good) throw new InputError('not-a-kernel', `${path} is not ${what}`, { given: path });
}
