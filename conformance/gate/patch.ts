/** Changed files as a patch that `git apply` takes. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { MachineError } from '../../corpora/errors.js';
import { makeFolder, removeFolder } from '../ends-with-us.js';
import { git } from './git-base.js';

/** @param files new texts by path below `root`. Empty text where nothing changes. */
export function patchOf(files: ReadonlyMap<string, string>, root: string): string {
  const folder = makeFolder('guest-abi-patch-');
  try {
    for (const side of ['a', 'b']) mkdirSync(join(folder, side));
    for (const [path, text] of files) {
      const now = join(root, path);
      if (existsSync(now)) put(join(folder, 'a', path), readFileSync(now, 'utf8'));
      put(join(folder, 'b', path), text);
    }
    // The folders are the prefixes that `git apply` takes off.
    const { status, stdout, stderr } = git(
      ['-c', 'core.quotePath=true', 'diff', '--no-index', '--no-prefix', '--no-color', '--no-ext-diff', 'a', 'b'],
      folder,
    );
    if (status === 0 || status === 1) return stdout === '' ? '' : `${stdout}\n`;
    throw new MachineError('git-failed', `git diff: ${stderr.split('\n')[0]}`, { given: root });
  } finally {
    removeFolder(folder);
  }
}

function put(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}
