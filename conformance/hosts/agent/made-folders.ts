/** Folders that a runner names and its host lacks: made when needed, removed when this process ends. */
import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';

const made = new Set<string>();

/** The path, its folder made where there is none. */
export function inFolder(path: string): string {
  const first = mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  if (first !== undefined) {
    if (made.size === 0) process.once('exit', removeMade);
    made.add(first);
  }
  return path;
}

function removeMade(): void {
  for (const folder of made) rmSync(folder, { recursive: true, force: true });
}
