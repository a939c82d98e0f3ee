/** QEMU releases as Debian built them, in private trees, run through the dynamic linker of their own tree. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError, MachineError, unknownName } from '../../corpora/errors.js';
import { runCommand } from './command.js';
import { cachedTree, ensureTree, type PackageTree, type TreeOptions, type TreeSpec } from './package-tree.js';

/** A QEMU that can be started: spawn `argv(args)[0]` with the rest as arguments and `env` added to the environment. */
export interface QemuLauncher {
  /** `10.0` for a tree, the path for a binary of the user. */
  readonly name: string;
  /** As QEMU prints it, e.g. `10.0.13`. */
  readonly version: string;
  readonly env: Readonly<Record<string, string>>;
  argv(args: readonly string[]): readonly [string, ...string[]];
}

const SUITES = {
  '5.2': { suite: 'bullseye', also: [] },
  '7.2': { suite: 'bookworm', also: [] },
  '10.0': { suite: 'trixie', also: [] },
  '11.1': { suite: 'trixie-backports', also: ['trixie'] },
} as const satisfies Record<string, { suite: string; also: readonly string[] }>;

export type QemuRelease = keyof typeof SUITES;

/** The releases that `qemuTree` knows, oldest first. */
export const QEMU_RELEASES = Object.keys(SUITES) as readonly QemuRelease[];

/** The tree of a release. Throws `InputError` for a release that is not in `QEMU_RELEASES`. */
export function qemuTreeSpec(release: string): TreeSpec {
  const place = SUITES[release as QemuRelease];
  if (!place) throw unknownName('QEMU release', release, QEMU_RELEASES);
  return { name: `qemu-${release}`, ...place, packages: ['qemu-system-x86'], dependencies: true };
}

/** A launcher for a release, fetched first where it is not in the cache. Throws `MachineError` as `ensureTree` does. */
export async function qemuTree(release: string, options: TreeOptions = {}): Promise<QemuLauncher> {
  return launcherOf(release, await ensureTree(qemuTreeSpec(release), options));
}

/** A launcher for a release that is in the cache, or null. */
export async function cachedQemu(release: string, root?: string): Promise<QemuLauncher | null> {
  const tree = await cachedTree(qemuTreeSpec(release).name, root);
  return tree && launcherOf(release, tree);
}

/** A launcher for a QEMU binary of the user. Throws `InputError` where it is not one, or one older than any that this was tried on. */
export async function qemuBinary(path: string): Promise<QemuLauncher> {
  const start = (args: readonly string[]): [string, ...string[]] => [path, ...args];
  const version = await askVersion(start, {}).catch(() => null);
  if (version === null) throw new InputError('not-a-qemu', `${path} is not a QEMU that runs here`, { given: path });
  const [oldest] = QEMU_RELEASES;
  if (version.localeCompare(oldest!, 'en', { numeric: true }) < 0)
    throw new InputError('qemu-too-old', `${path} is QEMU ${version}; ${oldest} is the oldest that is supported`, {
      given: path,
    });
  return { name: path, version, env: {}, argv: start };
}

const LIBRARIES = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu'];
const FIRMWARE = ['usr/share/qemu', 'usr/share/seabios', 'usr/lib/ipxe/qemu'];

async function launcherOf(release: string, tree: PackageTree): Promise<QemuLauncher> {
  const libraries = LIBRARIES.map((folder) => join(tree.root, folder));
  const linker = await findLinker(libraries, tree.root);
  // pulseaudio's private library lies one folder deeper; the loader of another tree would find it by RUNPATH below /usr.
  const path = libraries.flatMap((folder) => [folder, join(folder, 'pulseaudio')]).join(':');
  const binary = join(tree.root, 'usr/bin/qemu-system-x86_64');
  const firmware = FIRMWARE.flatMap((folder) => ['-L', join(tree.root, folder)]);
  const argv = (args: readonly string[]): [string, ...string[]] => [
    linker,
    '--library-path',
    path,
    binary,
    ...firmware,
    ...args,
  ];
  // Debian builds the TCG accelerator as a module up to 7.2; QEMU looks for it below /usr unless told.
  const env = { QEMU_MODULE_DIR: join(tree.root, 'usr/lib/x86_64-linux-gnu/qemu') };
  const version = await askVersion(argv, env);
  if (!version.startsWith(`${release}.`)) {
    throw new MachineError('qemu-version', `${binary} is QEMU ${version}, not ${release}; the suite has moved on`, {
      given: release,
    });
  }
  return { name: release, version, env, argv };
}

async function findLinker(libraries: readonly string[], root: string): Promise<string> {
  for (const folder of libraries) {
    const names = await readdir(folder).catch((): string[] => []);
    if (names.includes('ld-linux-x86-64.so.2')) return join(folder, 'ld-linux-x86-64.so.2');
  }
  throw new MachineError('cache-damaged', `${root} has no dynamic linker; remove this tree and load it again`, {
    given: root,
  });
}

async function askVersion(argv: QemuLauncher['argv'], env: Readonly<Record<string, string>>): Promise<string> {
  const [program, ...args] = argv(['--version']);
  const result = await runCommand(program, args, { deadline: 30_000, env: { ...process.env, ...env } });
  const version = /QEMU emulator version (\d+\.\d+\.\d+)/.exec(result.stdout)?.[1];
  if (version) return version;
  throw new MachineError(
    'qemu-does-not-run',
    `QEMU does not start: ${result.stderr.split('\n')[0] || `status ${result.status}`}`,
  );
}
