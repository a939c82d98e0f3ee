/** The two images of a lab host: the system (Node with its libraries) and this package; built once per content. */
import { createHash } from 'node:crypto';
import { access, chmod, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MachineError } from '../../../corpora/errors.js';
import { packageFile } from '../../../corpora/package-root.js';
import { makeFolder, removeFolder } from '../../ends-with-us.js';
import { cacheRoot, inCache, requireSpace, withLock } from '../../packages/cache.js';
import { runCommand } from '../../packages/command.js';
import { cachedTree } from '../../packages/package-tree.js';
import { qemuTreeSpec } from '../../packages/qemu-trees.js';
import { bundle, UNBUNDLED } from './bundle.js';
import { bundlePath, LAB_PROGRAMS, type LabProgram } from './bundle-path.js';
import { contentBytes, makeExt4 } from './ext4-image.js';
import { PACKAGE_FOLDER } from './init-script.js';

export interface HostImages {
  readonly system: string;
  readonly package: string;
  /** Trees of QEMUs that run inside; absent: none does. */
  readonly qemus?: string;
}

/** A file of an image: where it comes from or what it holds, and its path in the image without a leading slash. */
interface ImageFile {
  readonly from: string | Uint8Array;
  readonly path: string;
  readonly executable: boolean;
}

/** Both images, from the cache or built from this machine's Node and this package. */
export async function ensureHostImages(root: string = cacheRoot()): Promise<HostImages> {
  const system = await ensureImage('system', await systemFiles(), SYSTEM_FOLDERS, root);
  return { system, package: await ensureImage('package', await packageFiles(), [], root) };
}

const SYSTEM_FOLDERS = ['dev', 'proc', 'sys', 'tmp', PACKAGE_FOLDER.slice(1)];

/** Node and what `ldd` says it needs, at the paths where they are here. */
async function systemFiles(): Promise<ImageFile[]> {
  const result = await runCommand('ldd', [process.execPath], { deadline: 30_000 });
  if (result.status !== 0) throw new MachineError('image-not-made', `ldd ${process.execPath}: ${result.stderr.trim()}`);
  const libraries = [...result.stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((match) => match[1]!);
  const files = libraries.map((path) => ({ from: path, path: path.slice(1), executable: true }));
  return [{ from: process.execPath, path: 'usr/bin/node', executable: true }, ...files];
}

/** Folders of the package that a lab host needs, with what is left out of them. */
const PACKAGE_PARTS: readonly { readonly folder: string; readonly keep: RegExp }[] = [
  { folder: 'dist', keep: /(?<!\.test)\.js$/ },
  { folder: 'corpora', keep: /\.json$/ },
  { folder: 'guest-probes', keep: /\.(elf|bin|json)$/ },
];

async function packageFiles(): Promise<ImageFile[]> {
  const files: ImageFile[] = [plainFile('package.json', packageFile('package.json'))];
  for (const { folder, keep } of PACKAGE_PARTS)
    files.push(...(await filesBelow(packageFile(folder), folder, (path) => keep.test(path))));
  for (const program of Object.keys(LAB_PROGRAMS) as LabProgram[])
    files.push(plainFile(bundlePath(program), bundle(program)));
  for (const name of await dependencies()) files.push(...(await dependencyFiles(name)));
  return files;
}

const plainFile = (path: string, from: string | Uint8Array): ImageFile => ({ from, path, executable: false });

/** Names of the packages of node_modules that bundles load, dependencies of dependencies included. */
async function dependencies(): Promise<string[]> {
  const found = new Set<string>();
  const visit = async (name: string): Promise<void> => {
    const folder = await moduleFolder(name);
    if (found.has(name) || folder === null) return;
    found.add(name);
    const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
      await readFile(join(folder, 'package.json'), 'utf8'),
    );
    for (const next of Object.keys({ ...dependencies, ...optionalDependencies })) await visit(next);
  };
  for (const name of UNBUNDLED) await visit(name);
  return [...found].sort((a, b) => (a < b ? -1 : 1));
}

/** Looks upwards from the package, as Node does: a user has it beside us, a checkout below us. Null for another platform's. */
async function moduleFolder(name: string): Promise<string | null> {
  for (let folder = packageFile('.'); ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name);
    const there = await access(join(candidate, 'package.json')).then(
      () => true,
      () => false,
    );
    if (there) return candidate;
    if (folder === dirname(folder)) return null;
  }
}

async function dependencyFiles(name: string): Promise<ImageFile[]> {
  const folder = (await moduleFolder(name))!;
  return filesBelow(
    folder,
    join('node_modules', name),
    (path) => /\.(js|cjs|mjs|json|node)$/.test(path) && !path.includes('node_modules/'),
  );
}

async function filesBelow(folder: string, as: string, keep: (path: string) => boolean): Promise<ImageFile[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.path, entry.name).slice(folder.length + 1))
    .filter(keep)
    .sort((a, b) => (a < b ? -1 : 1))
    .map((path) => plainFile(join(as, path), join(folder, path)));
}

/**
 * An image with the trees of these QEMU releases as the cache has them, to be a cache inside. Throws `MachineError` `qemu-missing` where one is
 * not there.
 */
export async function ensureQemuImage(releases: readonly string[], root: string = cacheRoot()): Promise<string> {
  const names = [...new Set(releases)].sort().map((release) => qemuTreeSpec(release).name);
  const hash = createHash('sha256');
  for (const name of names) {
    const tree = await cachedTree(name, root);
    if (!tree)
      throw new MachineError('qemu-missing', `${name} is not in the cache: guest-abi lab setup --qemu`, {
        given: name,
      });
    hash.update(JSON.stringify([name, tree.manifest]));
  }
  const image = join(root, 'images', `qemus-${hash.digest('hex').slice(0, 16)}.ext4`);
  return onceThere(image, 'qemus', async () => {
    const folders = names.map((name) => join(root, 'trees', name));
    const { stdout } = await runCommand('du', ['-sBM', '-c', ...folders], { deadline: 60_000 });
    const mebibytes = Number(/(\d+)M\ttotal/.exec(stdout)?.[1] ?? 0);
    await buildFrom(image, (mebibytes + 8) * 2 ** 20, async (content) => {
      await mkdir(join(content, 'trees'));
      const copied = await runCommand('cp', ['-a', ...folders, join(content, 'trees')], { deadline: 120_000 });
      if (copied.status !== 0) throw new MachineError('image-not-made', `cp: ${copied.stderr.trim()}`);
    });
  });
}

async function ensureImage(
  kind: string,
  files: readonly ImageFile[],
  folders: readonly string[],
  root: string,
): Promise<string> {
  const image = join(root, 'images', `${kind}-${await digestOf(files, folders)}.ext4`);
  return onceThere(image, kind, () => buildImage(image, files, folders));
}

/** The image, made first where it is not there. */
async function onceThere(image: string, kind: string, build: () => Promise<void>): Promise<string> {
  const root = dirname(dirname(image));
  const there = () =>
    access(image).then(
      () => true,
      () => false,
    );
  if (await there()) return image;
  return withLock(join(root, 'locks', `image-${kind}`), async () => {
    if (!(await there())) await build();
    return image;
  });
}

const contentOf = async ({ from }: ImageFile): Promise<Uint8Array> =>
  typeof from === 'string' ? readFile(from) : from;

async function digestOf(files: readonly ImageFile[], folders: readonly string[]): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(folders));
  for (const file of files) {
    const content = await contentOf(file);
    hash.update(JSON.stringify([file.path, file.executable, content.length])).update(content);
  }
  return hash.digest('hex').slice(0, 16);
}

async function buildImage(image: string, files: readonly ImageFile[], folders: readonly string[]): Promise<void> {
  const bytes = await contentBytes(files.map(({ from }) => from));
  await buildFrom(image, bytes, async (content) => {
    for (const folder of folders) await mkdir(join(content, folder), { recursive: true });
    for (const file of files) await stage(file, content);
  });
}

async function buildFrom(image: string, bytes: number, fill: (content: string) => Promise<void>): Promise<void> {
  await inCache(image, async () => {
    await mkdir(dirname(image), { recursive: true });
    const staging = makeFolder('.unfinished-', dirname(image));
    try {
      await requireSpace(dirname(image), bytes * 2);
      await chmod(staging, 0o755);
      const content = join(staging, 'content');
      await mkdir(content);
      await fill(content);
      await makeExt4(content, join(staging, 'image'), bytes);
      await rename(join(staging, 'image'), image);
    } finally {
      removeFolder(staging);
    }
  });
}

async function stage(file: ImageFile, content: string): Promise<void> {
  const target = join(content, file.path);
  await mkdir(dirname(target), { recursive: true });
  await writeFile(target, await contentOf(file));
  await chmod(target, file.executable ? 0o755 : 0o644);
}
