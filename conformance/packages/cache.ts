/** The cache folder: where it is, how its parts are locked, and how files and folders appear in it whole or not at all. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readdir, rename, rm, statfs } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { MachineError } from '../../corpora/errors.js';
import { makeFolder, removeFolder } from '../ends-with-us.js';

/** `$XDG_CACHE_HOME/guest-abi`, by default `~/.cache/guest-abi` (XDG base directory specification: relative values are ignored). */
export function cacheRoot(env: NodeJS.ProcessEnv = process.env): string {
  const xdg = env.XDG_CACHE_HOME;
  return join(xdg?.startsWith('/') ? xdg : join(homedir(), '.cache'), 'guest-abi');
}

/** Turns what the file system said into an error with a cure; passes anything else on. */
export function fileSystemError(error: unknown, place: string): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOSPC' || code === 'EDQUOT') return diskFull(place, error);
  if (code === 'EACCES' || code === 'EROFS' || code === 'EPERM') {
    return new MachineError(
      'cache-not-writable',
      `cannot write ${place} (${code}); set XDG_CACHE_HOME to a writable folder`,
      {
        given: place,
        cause: error,
      },
    );
  }
  return error;
}

export const diskFull = (place: string, cause?: unknown): MachineError =>
  new MachineError('cache-disk-full', `no space left for ${place}; free some, or set XDG_CACHE_HOME to another disk`, {
    given: place,
    cause,
  });

/** Runs `work`, with file system errors below `place` made clear. */
export async function inCache<T>(place: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fileSystemError(error, place);
  }
}

/** Throws `cache-disk-full` where the disk of `folder` (which exists) has less than `bytes` free. */
export async function requireSpace(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize < bytes) {
    const mib = (n: number): string => `${Math.ceil(n / 2 ** 20)} MiB`;
    throw new MachineError(
      'cache-disk-full',
      `${folder} needs ${mib(bytes)} and its disk has ${mib(bavail * bsize)} free; free some, or set XDG_CACHE_HOME to another disk`,
      { given: folder },
    );
  }
}

/**
 * Runs `work` while holding the exclusive lock `file`; waits for another process that holds it. The lock belongs to a
 * child whose standard input is our pipe, so the kernel releases it however this process ends.
 */
export async function withLock<T>(file: string, work: () => Promise<T>): Promise<T> {
  await inCache(file, () => mkdir(dirname(file), { recursive: true }));
  const holder = spawn('flock', ['--exclusive', file, 'sh', '-c', 'echo locked; exec cat'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const failed = once(holder, 'close').then(([status]) => {
    throw new MachineError('cache-lock', `cannot lock ${file}: flock ended with ${status}`, { given: file });
  });
  failed.catch(() => {});
  try {
    await Promise.race([once(holder.stdout, 'data'), failed]);
    return await work();
  } finally {
    const released = failed.catch(() => {});
    holder.stdin.end();
    await released;
  }
}

/** Prefix of names that are not finished; `discardUnfinished` removes what a killed run left. */
const UNFINISHED = '.unfinished-';

/** Makes the folder `path` by `fill(temporary)`, then renames it there; an older one is replaced. Call under a lock. */
export async function publishFolder(path: string, fill: (folder: string) => Promise<void>): Promise<void> {
  await inCache(path, async () => {
    const parent = dirname(path);
    await mkdir(parent, { recursive: true });
    await discardUnfinished(parent, basename(path));
    const temporary = makeFolder(`${UNFINISHED}${basename(path)}-`, parent);
    try {
      await fill(temporary);
      await rm(path, { recursive: true, force: true });
      await rename(temporary, path);
    } finally {
      removeFolder(temporary);
    }
  });
}

async function discardUnfinished(parent: string, name: string): Promise<void> {
  const left = (await readdir(parent)).filter((entry) => entry.startsWith(`${UNFINISHED}${name}-`));
  for (const entry of left) await rm(join(parent, entry), { recursive: true, force: true });
}

/** Writes a file by a temporary name in the same folder, fsync and rename. */
export async function publishFile(path: string, content: string | Uint8Array): Promise<void> {
  await inCache(path, async () => {
    await mkdir(dirname(path), { recursive: true });
    const temporary = join(dirname(path), `${UNFINISHED}${basename(path)}-${process.pid}`);
    try {
      const handle = await open(temporary, 'w');
      try {
        await handle.writeFile(content);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  });
}
