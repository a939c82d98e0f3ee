/** Kernel modules: found by name in a kernel's folder, with what they depend on, in the order to load them. */
import { copyFile, readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { MachineError } from '../../../corpora/errors.js';
import { makeFolder, removeFolder } from '../../ends-with-us.js';
import { runCommand } from '../../packages/command.js';

export interface KernelModule {
  /** With underscores, as the kernel names it. */
  readonly name: string;
  /** The uncompressed ELF object. */
  readonly content: Buffer;
}

const SUFFIX = /\.ko(?<compressed>\.xz|\.zst|\.gz)?$/;

/**
 * Loads `wanted` and their dependencies, dependencies first. A wanted or needed module that is no file is taken to be
 * built in: whether it is shows when the host boots.
 */
export async function loadModules(folder: string, wanted: readonly string[]): Promise<KernelModule[]> {
  const files = await indexModules(folder);
  const loaded = new Map<string, KernelModule>();
  for (const name of wanted) await visit(name, files, loaded);
  return [...loaded.values()];
}

async function visit(
  name: string,
  files: ReadonlyMap<string, string>,
  loaded: Map<string, KernelModule>,
): Promise<void> {
  const file = files.get(name);
  if (file === undefined || loaded.has(name)) return;
  const content = await readModule(file);
  for (const dependency of dependenciesOf(content)) await visit(dependency, files, loaded);
  loaded.set(name, { name, content });
}

/** Module name to path, of a whole folder. */
async function indexModules(folder: string): Promise<Map<string, string>> {
  const entries = await readdir(folder, { recursive: true });
  const modules = entries.filter((path) => SUFFIX.test(path));
  if (modules.length === 0)
    throw new MachineError('no-modules', `${folder} holds no kernel modules`, { given: folder });
  return new Map(modules.map((path) => [moduleName(path), join(folder, path)]));
}

const moduleName = (path: string): string => basename(path).replace(SUFFIX, '').replaceAll('-', '_');

/** The `depends=` entry of a module's .modinfo section (NUL-separated `key=value` strings). */
export function dependenciesOf(module: Buffer): string[] {
  const start = module.indexOf('\0depends=');
  if (start === -1) return [];
  const end = module.indexOf(0, start + 1);
  const list = module.toString('latin1', start + '\0depends='.length, end);
  return list
    .split(',')
    .filter(Boolean)
    .map((name) => name.replaceAll('-', '_'));
}

const DECOMPRESSORS: Readonly<Record<string, string>> = { '.xz': 'xz', '.zst': 'zstd', '.gz': 'gzip' };

async function readModule(file: string): Promise<Buffer> {
  const suffix = SUFFIX.exec(file)!.groups!.compressed;
  if (!suffix) return readFile(file);
  const folder = makeFolder('guest-abi-module-');
  try {
    const copy = join(folder, `module${suffix}`);
    await copyFile(file, copy);
    const result = await runCommand(DECOMPRESSORS[suffix]!, ['-d', '-q', copy], { deadline: 60_000 });
    if (result.status !== 0)
      throw new MachineError('module-damaged', `cannot unpack ${file}: ${result.stderr.trim()}`, { given: file });
    return await readFile(join(folder, 'module'));
  } finally {
    removeFolder(folder);
  }
}
