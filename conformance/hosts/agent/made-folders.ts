/** Folders that a runner names and its host lacks: made when needed, removed when this process ends. */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { goesWithUs } from '../../ends-with-us.js';

/** The path, its folder made where there is none. */
export function inFolder(path: string): string {
  const first = mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  if (first !== undefined) goesWithUs(first);
  return path;
}
