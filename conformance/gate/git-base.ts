/** Corpora folders as a commit has them, in a temporary folder: the worktree and the index are left alone. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { InputError, MachineError, nearestNames } from '../../corpora/errors.js';
import { makeFolder, removeFolder } from '../ends-with-us.js';

/** Folders of one repository at one commit; disposing removes the copies. */
export interface GitBase extends Disposable {
  /** `git:1a2b3c4d5e6f (origin/main)`. */
  readonly name: string;
  /** The repository's root folder. */
  readonly root: string;
  /** In the order given; an empty folder where the commit has none. */
  readonly folders: readonly string[];
}

/** Where an edit is taken to begin, where nobody says: what it branched off. */
const TRUNKS = ['@{upstream}', 'origin/HEAD', 'origin/main', 'origin/master', 'main', 'master'];

/**
 * Copies of `folders` as `ref` has them. Without `ref`: the merge base of HEAD with the branch's upstream, else with the main branch; else
 * HEAD. Throws `InputError` `no-git-repository` or `unknown-git-ref`, `MachineError` `program-missing`.
 */
export function gitBase(ref: string | undefined, folders: readonly string[]): GitBase {
  const root = realpathSync(rootOf(folders[0]!));
  const { ref: chosen, name } = ref === undefined ? defaultBase(root) : { ref, name: ref };
  const commit = commitOf(chosen, root);
  const copies = makeFolder('guest-abi-gate-');
  try {
    return {
      name: `git:${commit.slice(0, 12)}${commit.startsWith(name) ? '' : ` (${name})`}`,
      root,
      folders: folders.map((folder, i) => copyOf(folder, commit, join(copies, `${i}`))),
      [Symbol.dispose]: () => removeFolder(copies),
    };
  } catch (error) {
    removeFolder(copies);
    throw error;
  }
}

function rootOf(folder: string): string {
  const { status, stdout, stderr } = git(['rev-parse', '--show-toplevel'], folder);
  if (status === 0 && stdout) return stdout;
  throw new InputError(
    'no-git-repository',
    `${folder} is in no git repository that can be read (${stderr.split('\n')[0]}): give --corpora a folder of one, or another --base`,
    { given: folder },
  );
}

/** An edit that is not committed yet begins at HEAD, and so does one on the trunk itself. */
function defaultBase(root: string): { ref: string; name: string } {
  const trunk = TRUNKS.find((name) => git(['rev-parse', '--verify', '-q', `${name}^{commit}`], root).status === 0);
  const base = trunk === undefined ? null : git(['merge-base', 'HEAD', trunk], root);
  if (base?.status !== 0 || base.stdout === git(['rev-parse', 'HEAD'], root).stdout)
    return { ref: 'HEAD', name: 'HEAD' };
  return { ref: base.stdout, name: `merge base with ${trunk}` };
}

function commitOf(ref: string, root: string): string {
  const option = ref.startsWith('-');
  const { status, stdout } = option
    ? { status: 1, stdout: '' }
    : git(['rev-parse', '--verify', '-q', `${ref}^{commit}`], root);
  if (status === 0) return stdout;
  const known = git(['for-each-ref', '--format=%(refname:short)'], root).stdout.split('\n');
  const nearest = nearestNames(ref, known);
  const hint = nearest.length ? `; nearest: ${nearest.join(', ')}` : '';
  throw new InputError('unknown-git-ref', `${root} has no commit '${ref}'${hint}`, { given: ref, nearest });
}

/** By an index of its own: `git archive` would leave out what .gitattributes says. */
function copyOf(folder: string, commit: string, to: string): string {
  mkdirSync(to);
  const prefix = must(git(['rev-parse', '--show-prefix'], folder), folder);
  const tree = git(['rev-parse', '--verify', '-q', prefix ? `${commit}:${prefix}` : `${commit}^{tree}`], folder);
  if (tree.status !== 0) return to;
  const index = { GIT_INDEX_FILE: `${to}.index` };
  const root = rootOf(folder);
  must(git(['read-tree', tree.stdout], root, index), folder);
  must(git(['checkout-index', '--all', `--prefix=${to}/`], root, index), folder);
  return to;
}

function must({ status, stdout, stderr }: ReturnType<typeof git>, folder: string): string {
  if (status === 0) return stdout;
  throw new MachineError('git-failed', `git in ${folder}: ${stderr.split('\n')[0]}`, { given: folder });
}

/** Variables that git sets for its hooks, and that would send us to their index or repository. */
const HOOK_VARIABLES = ['GIT_DIR', 'GIT_WORK_TREE', 'GIT_INDEX_FILE', 'GIT_PREFIX'];

/** Runs git in a folder; its output without the last line end. Throws `MachineError` `program-missing`. */
export function git(
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): { status: number | null; stdout: string; stderr: string } {
  const inherited = Object.entries(process.env).filter(([name]) => !HOOK_VARIABLES.includes(name));
  const { status, stdout, stderr, error } = spawnSync('git', args, {
    cwd,
    env: { ...Object.fromEntries(inherited), LC_ALL: 'C.UTF-8', ...env },
    encoding: 'utf8',
    maxBuffer: 1 << 30,
  });
  if (error)
    throw new MachineError('program-missing', `cannot run git: ${error.message}`, { given: 'git', cause: error });
  return { status, stdout: stdout.replace(/\n$/, ''), stderr };
}
