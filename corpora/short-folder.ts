/** For tests: a folder with a short path, wherever the checkout is, for sockets: a unix socket's path has at most 107 bytes (unix(7)). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Removed when the test ends. */
export function shortFolder(t: { teardown(work: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'guest-abi-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
