/** A private apt: own lists, cache and an empty dpkg status, so that packages of any suite can be fetched and nothing is installed. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { aptFailure } from './apt-failure.js';
import { type AptSource, formatSource, sourceOf } from './apt-sources.js';
import { inCache, withLock } from './cache.js';
import { type CommandResult, runCommand } from './command.js';
import { type Progress, silent } from './progress.js';

/** One package file as the signed index names it. */
export interface PackageFile {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** Base name of the .deb as apt writes it. */
  readonly file: string;
  readonly bytes: number;
  /** Lower-case hex, from the signed index. */
  readonly sha256: string;
}

/** Longest time for one apt call, in milliseconds; apt's own network timeouts end most failures much sooner. */
const APT_DEADLINE = 900_000;

/** Lists younger than this are taken as they are, in milliseconds. */
const LISTS_FRESH = 6 * 3600_000;

/** The settings of the machine's apt that are taken over: how to reach the network, and how strict dates are. */
const INHERITED = /^Acquire::(http|https|ftp|socks5?h?|ForceIPv[46]|Check-Valid-Until|Check-Date|Retries)(::| )/;

/** Apt for one set of suites. Make one with `openApt`. */
export class PrivateApt {
  readonly #folder: string;
  readonly #root: string;
  readonly #environment: NodeJS.ProcessEnv;
  readonly suites: readonly string[];
  readonly sources: readonly AptSource[];

  constructor(root: string, folder: string, suites: readonly string[], sources: readonly AptSource[]) {
    this.#root = root;
    this.#folder = folder;
    this.suites = suites;
    this.sources = sources;
    this.#environment = { ...process.env, APT_CONFIG: join(folder, 'apt.conf'), DEBIAN_FRONTEND: 'noninteractive' };
  }

  /** Fetches the package lists unless they are fresh. Throws `MachineError` where the network or a signature fails. */
  async update(options: { readonly force?: boolean; readonly onProgress?: Progress } = {}): Promise<void> {
    const stamp = join(this.#folder, 'updated');
    const age = await stat(stamp).then(
      (s) => Date.now() - s.mtimeMs,
      () => Number.POSITIVE_INFINITY,
    );
    if (!options.force && age < LISTS_FRESH) return;
    const step = `package lists of ${this.suites.join(', ')}`;
    await withLock(join(this.#root, 'apt', 'lists.lock'), () =>
      this.#run('apt-get', ['-q', '-o', 'APT::Update::Error-Mode=any', 'update'], step, options.onProgress),
    );
    await inCache(stamp, () => writeFile(stamp, ''));
  }

  /** Names of all packages in the lists that begin with `prefix`. */
  async names(prefix: string): Promise<string[]> {
    const { stdout } = await this.#run('apt-cache', ['pkgnames', prefix], 'package names');
    return stdout.split('\n').filter(Boolean);
  }

  /** The index records of packages, as apt-cache(8) `show` prints them. */
  async show(names: readonly string[]): Promise<string> {
    if (names.length === 0) return '';
    return (await this.#run('apt-cache', ['show', '--', ...names], 'package records')).stdout;
  }

  /** The package files that installing `names` on an empty system takes, `target` preferred over the other suites. */
  async resolve(names: readonly string[], target: string): Promise<PackageFile[]> {
    const args = ['install', '-qq', '-y', '--no-install-recommends', '-t', target, '--print-uris', '--', ...names];
    return parseUris((await this.#run('apt-get', args, `dependencies of ${names.join(', ')}`)).stdout);
  }

  /** The package files of exactly `names` (`name` or `name=version`), without dependencies. */
  async locate(names: readonly string[], target: string): Promise<PackageFile[]> {
    const args = ['download', '-qq', '-t', target, '--print-uris', '--', ...names];
    return parseUris((await this.#run('apt-get', args, names.join(', '))).stdout);
  }

  /** Downloads `files` into the existing folder `into`; what is there and whole is kept. Every checksum is verified. */
  async download(
    files: readonly PackageFile[],
    into: string,
    step: string,
    onProgress: Progress = silent,
  ): Promise<void> {
    const missing: PackageFile[] = [];
    for (const file of files) if (!(await isWhole(file, into))) missing.push(file);
    if (missing.length === 0) return;
    const names = missing.map((file) => `${file.name}=${file.version}`);
    await this.#run('apt-get', ['-q', 'download', '--', ...names], step, onProgress, into);
    for (const file of missing) {
      if (!(await isWhole(file, into))) throw aptFailure(step, `Hash Sum mismatch: ${file.file}`);
    }
  }

  async #run(
    program: string,
    args: string[],
    step: string,
    onProgress?: Progress,
    cwd?: string,
  ): Promise<CommandResult> {
    const status = onProgress ? ['-o', 'APT::Status-Fd=3'] : [];
    const result = await runCommand(program, [...status, ...args], {
      cwd: cwd ?? this.#folder,
      env: this.#environment,
      deadline: APT_DEADLINE,
      ...(onProgress && { onStatusLine: (line: string) => reportStatus(line, step, onProgress) }),
    });
    if (result.timedOut) throw aptFailure(step, `no end after ${APT_DEADLINE / 1000} s`);
    if (result.status !== 0) throw aptFailure(step, result.stderr || result.stdout);
    return result;
  }
}

/** Makes the private state for `suites` below the cache folder `root`; the mirrors are those of `machine`. */
export async function openApt(
  root: string,
  suites: readonly string[],
  machine: readonly AptSource[],
): Promise<PrivateApt> {
  const sources = suites.map((suite) => sourceOf(suite, machine));
  const text = sources.map(formatSource).join('\n');
  const folder = join(
    root,
    'apt',
    `${suites.join('+')}-${createHash('sha256').update(text).digest('hex').slice(0, 8)}`,
  );
  const lists = join(root, 'apt', 'lists');
  const inherited = await inheritedSettings();
  await inCache(folder, async () => {
    for (const path of [join(folder, 'cache'), join(lists, 'partial')]) await mkdir(path, { recursive: true });
    await writeFile(join(folder, 'status'), '');
    await writeFile(join(folder, 'private.sources'), text);
    await writeFile(join(folder, 'apt.conf'), [...privateSettings(folder, lists), ...inherited, ''].join('\n'));
  });
  return new PrivateApt(root, folder, suites, sources);
}

/** Removes what apt can make again from the lists: some 40 MB for a large suite. */
export async function trimApt(root: string): Promise<void> {
  const folder = join(root, 'apt');
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const { name } of entries.filter((entry) => entry.isDirectory())) {
    await rm(join(folder, name, 'cache', 'pkgcache.bin'), { force: true });
  }
}

/** apt.conf(5) of the private state. The lists are shared between states, so no state may clean the others' away. */
const privateSettings = (folder: string, lists: string): string[] =>
  Object.entries({
    'Dir::State': `${folder}/state/`,
    'Dir::State::lists': `${lists}/`,
    'Dir::State::status': `${folder}/status`,
    'Dir::Cache': `${folder}/cache/`,
    'Dir::Cache::srcpkgcache': '',
    'Dir::Etc::main': '/dev/null',
    'Dir::Etc::parts': '/dev/null',
    'Dir::Etc::sourcelist': `${folder}/private.sources`,
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::Etc::preferences': '/dev/null',
    'Dir::Etc::preferencesparts': '/dev/null',
    'APT::Architecture': 'amd64',
    'APT::Get::List-Cleanup': 'false',
    'Acquire::GzipIndexes': 'true',
    'Acquire::Languages': 'none',
    'Acquire::ForceHash': 'SHA256',
    'Acquire::http::Timeout': '30',
  }).map(([key, value]) => `${key} "${value}";`);

/** The machine's own network settings (proxies, certificates), as configuration lines. */
async function inheritedSettings(): Promise<string[]> {
  const { stdout } = await runCommand('apt-config', ['dump'], { deadline: 30_000 });
  return stdout.split('\n').filter((line) => INHERITED.test(line) && !line.endsWith(' "";'));
}

/** Parses what `--print-uris` prints: `'URI' FILE BYTES SHA256:HASH`. Throws where a line has no SHA-256. */
export function parseUris(text: string): PackageFile[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith("'"))
    .map((line) => {
      const match =
        /^'[^']+' (?<file>(?<name>[^_/]+)_(?<version>[^_/]+)_(?<architecture>[^_/]+)\.deb) (?<bytes>\d+) SHA256:(?<sha256>[0-9a-f]{64})$/.exec(
          line,
        );
      if (!match) throw aptFailure('package index', `unexpected answer of apt: ${line}`);
      const { file, name, version, architecture, bytes, sha256 } = match.groups as Record<string, string>;
      return {
        file,
        name,
        version: decodeURIComponent(version!),
        architecture,
        bytes: Number(bytes),
        sha256,
      } as PackageFile;
    });
}

/** True where `folder` holds the file with its length and checksum. */
export async function isWhole(file: PackageFile, folder: string): Promise<boolean> {
  const path = join(folder, file.file);
  const size = await stat(path).then(
    (s) => s.size,
    () => -1,
  );
  if (size !== file.bytes) return false;
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex') === file.sha256;
}

/** One line of apt's status descriptor: `dlstatus:<n>:<percent>:<text>`. */
function reportStatus(line: string, step: string, onProgress: Progress): void {
  const percent = /^dlstatus:\d+:([\d.]+):/.exec(line)?.[1];
  if (percent !== undefined) onProgress({ step, done: Math.round(Number(percent)), total: 100 });
}
