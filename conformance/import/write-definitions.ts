/** Writes what an import changed into a corpora folder, and only that. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { writeFileWhole } from '../../corpora/write-file.js';

/** What an import did to the files of a folder, by path below it. */
export interface WrittenFiles {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly same: number;
}

/**
 * Writes the files whose text differs from what `folders` hold now (a later folder wins), into `out`.
 * Throws `MachineError` `file-not-written`.
 */
export function writeChanged(
  files: ReadonlyMap<string, string>,
  folders: readonly string[],
  out: string,
): WrittenFiles {
  const added: string[] = [];
  const changed: string[] = [];
  for (const [path, text] of files) {
    const now = folders.map((folder) => join(folder, path)).findLast((file) => existsSync(file));
    if (now !== undefined && readFileSync(now, 'utf8') === text) continue;
    (now === undefined ? added : changed).push(path);
    mkdirSync(dirname(join(out, path)), { recursive: true });
    writeFileWhole(join(out, path), [Buffer.from(text)]);
  }
  return { added, changed, same: files.size - added.length - changed.length };
}
