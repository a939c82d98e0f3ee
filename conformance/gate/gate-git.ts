/** `gate` for an edit of definitions: the worktree against a commit of its repository. */
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Definitions } from '../../corpora/definitions.js';
import { packageFile } from '../../corpora/package-root.js';
import { additionsOf, affectedPairs, unfrozenNotes } from './additions.js';
import { Causes } from './causes.js';
import { compareDefinitions, type PairFilter } from './compare-definitions.js';
import { compatLines } from './compat-fix.js';
import { findingsOf } from './findings.js';
import { type Fix, fixOf } from './fix.js';
import { type GitBase, gitBase } from './git-base.js';
import { patchOf } from './patch.js';
import { type PairName, ResolvedPairs } from './resolved.js';
import { type GateResult, RELEASED_PAIRS } from './result.js';

export interface GitGate {
  readonly result: GateResult;
  /** Makes the gate pass; null where nothing is broken, or no definition is at fault. */
  readonly patch: string | null;
  /** To be booted: a pair for each way in which guests see something else, and one for each new table. */
  readonly affected: readonly PairName[];
  /** The definitions as edited. */
  readonly head: Definitions;
  /** Has the contracts of the base. */
  readonly base: Definitions;
}

export interface GitGateOptions {
  /** Undefined: what HEAD branched off. */
  readonly ref: string | undefined;
  /** Folders of `--corpora`; none: the package's own. */
  readonly corpora: readonly string[];
  readonly wanted?: PairFilter;
}

/** Throws `InputError` where the folders are in no repository, or the commit or a file is not what it must be. */
export function gateAgainstGit({ ref, corpora, wanted = () => true }: GitGateOptions): GitGate {
  const own = corpora.length === 0;
  const folders = own ? [packageFile('corpora')] : corpora;
  using copies = gitBase(ref, folders);
  const base = own ? new Definitions([], copies.folders[0]) : new Definitions(copies.folders);
  const head = new Definitions(corpora);
  if (own) for (const path of editedFiles(folders[0]!, copies.folders[0]!, DEFINITIONS)) head.check(path);
  const resolved = new ResolvedPairs();
  const causes = new Causes(base, head, resolved, (file) => shownPath(file, copies.root));
  const compared = compareDefinitions(base, head, resolved, wanted);
  const fix = compared.changes.length > 0 ? fixOf(compared.changes, { base, head, resolved, causes, wanted }) : null;
  const findings = findingsOf(compared.changes, (change) => causes.of(change)).map((finding) => ({
    ...finding,
    fix: compatLines(fix?.entries ?? [], finding),
  }));
  return {
    result: {
      ...{
        base: copies.name,
        head: 'worktree',
        subject: RELEASED_PAIRS,
        held: compared.held,
        findings,
        added: additionsOf(compared.added, base),
        removed: [],
      },
      totals: {
        unchanged: compared.unchanged,
        broken: new Set(findings.flatMap(({ pairs }) => pairs)).size,
        added: compared.added.length,
      },
      notes: [
        ...(ref === undefined ? uneditedNotes(copies, folders) : []),
        ...unfrozenNotes(compared.added, head),
        ...(own ? dictionaryNotes(editedFiles(folders[0]!, copies.folders[0]!, DICTIONARIES)) : []),
        ...(fix ? leftNotes(fix) : []),
      ],
    },
    patch: fix && fix.files.size > 0 ? patchOfFix(fix, folders.at(-1)!, copies.root) : null,
    affected: affectedPairs(compared, findings, resolved, head),
    ...{ head, base },
  };
}

const DEFINITIONS = ['cpu-models', 'machine-types', 'contracts', 'msr-contracts'];
const DICTIONARIES = ['features', 'msrs'];

/** Paths, below a corpora folder, of JSON files that two states of it have otherwise and the first one has. */
function editedFiles(folder: string, before: string, parts: readonly string[]): string[] {
  return parts
    .filter((part) => existsSync(join(folder, part)))
    .flatMap((part) =>
      readdirSync(join(folder, part), { recursive: true, encoding: 'utf8' }).map((file) => join(part, file)),
    )
    .filter((path) => path.endsWith('.json'))
    .filter((path) => {
      const old = join(before, path);
      return !existsSync(old) || !readFileSync(old).equals(readFileSync(join(folder, path)));
    });
}

/** Where nobody named a base, on the trunk itself say, it may be what the worktree holds: all is unchanged then, and nothing is shown. */
function uneditedNotes({ name, folders: before }: GitBase, folders: readonly string[]): string[] {
  const isEdited = (one: string, other: string): boolean => editedFiles(one, other, DEFINITIONS).length > 0;
  if (folders.some((folder, i) => isEdited(folder, before[i]!) || isEdited(before[i]!, folder))) return [];
  return [
    `no definition or contract is edited since ${name}: it was compared with itself; --base names another commit`,
  ];
}

/** Both sides are resolved by this program with its own dictionaries. */
const dictionaryNotes = (edited: readonly string[]): string[] =>
  edited.map(
    (path) =>
      `${path} was edited: both sides were read with the edited file; what is frozen, CPUID and MSRs, is held to the contracts`,
  );

const leftNotes = ({ left }: Fix): string[] =>
  left.length > 0 ? [`no edit of definitions mends ${left.length} pairs: the resolver shows them otherwise`] : [];

function patchOfFix({ files }: Fix, target: string, root: string): string {
  const below = relative(root, realpathSync(target));
  return patchOf(new Map([...files].map(([path, text]) => [join(below, path), text])), root);
}

/** Below the repository's root where it is there, as people and CI name files. */
function shownPath(file: string, root: string): string {
  const path = relative(root, realpathSync(file));
  return path.startsWith('..') ? relative(process.cwd(), file) : path;
}
