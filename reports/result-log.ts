/** The result log: versioned JSON lines, written as results come; every report is made from it. */
import { InputError } from '../corpora/errors.js';
import { type CellResult, isUnexpected, VERDICTS, type Verdict } from '../corpora/verdict.js';

export const LOG_SCHEMA = 'guest-abi/result-log/1';

/** What is known of a host that results name. */
export interface HostSummary {
  /** Exact id, e.g. `lab:6.12.107+deb13/EPYC`. */
  readonly id: string;
  readonly kernel: string;
  /** KVM's module, e.g. `kvm_amd`. */
  readonly module: string;
  readonly cpu: string;
  /** What a reader must know, e.g. `alters CPUID: cannot give an exact CPU`. */
  readonly note: string;
}

export type LogLine =
  | { readonly type: 'run'; readonly schema: typeof LOG_SCHEMA; readonly version: string; readonly startedAt: string }
  | ({ readonly type: 'host' } & HostSummary)
  | ({ readonly type: 'cell' } & CellResult)
  | { readonly type: 'end'; readonly complete: boolean };

/** A whole log, read and checked. `complete` is false where the run was cut short. */
export interface ResultLog {
  readonly version: string;
  readonly startedAt: string;
  readonly hosts: readonly HostSummary[];
  readonly cells: readonly CellResult[];
  readonly complete: boolean;
}

/** How ids of recorded hosts begin: captures that stood in for kernels. */
export const RECORDED = 'recorded:';

/** True where a capture answered for one of the cell's hosts: the verdict follows from what was recorded, and proves nothing of a kernel. */
export const isRecorded = ({ hosts }: Pick<CellResult, 'hosts'>): boolean =>
  hosts.some((id) => id.startsWith(RECORDED));

/** Counts over cells. Recorded cells are counted in `recorded` only, other forced ones in `forced` only. */
export interface Totals {
  readonly cells: number;
  readonly byVerdict: Readonly<Record<Verdict, number>>;
  /** Refused exactly where refusal was predicted. */
  readonly refusedAsPredicted: number;
  readonly unexpected: number;
  readonly forced: Readonly<Record<Verdict, number>>;
  readonly recorded: Readonly<Record<Verdict, number>>;
}

/** The run's outcome: `holds`, `broken`, or `nothing-verified` (no cell was identical, and none broke). */
export type Conclusion = 'holds' | 'broken' | 'nothing-verified';

const zeroes = (): Record<Verdict, number> =>
  Object.fromEntries(VERDICTS.map((verdict) => [verdict, 0])) as Record<Verdict, number>;

export function totalsOf(cells: readonly CellResult[]): Totals {
  const byVerdict = zeroes();
  const forced = zeroes();
  const recorded = zeroes();
  const countOf = (cell: CellResult): Record<Verdict, number> => {
    if (isRecorded(cell)) return recorded;
    return cell.forced.length > 0 ? forced : byVerdict;
  };
  for (const cell of cells) countOf(cell)[cell.verdict]++;
  const refused = cells.filter((cell) => cell.verdict === 'refused' && cell.predicted === 'refused');
  return {
    cells: cells.length,
    byVerdict,
    refusedAsPredicted: refused.filter((cell) => !isRecorded(cell)).length,
    unexpected: cells.filter(isUnexpected).length,
    forced,
    recorded,
  };
}

const BREAKS: readonly Verdict[] = ['changed', 'dropped', 'crashed', 'hung'];

/** True where a cell shows an ABI break or anything that was not predicted. */
export const isBreak = (cell: CellResult): boolean => BREAKS.includes(cell.verdict) || isUnexpected(cell);

/** A contract holds where nothing broke and at least `minIdentical` cells were identical on real kernels, without forced features. */
export function conclude(cells: readonly CellResult[], minIdentical = 1): Conclusion {
  if (cells.some(isBreak)) return 'broken';
  return totalsOf(cells).byVerdict.identical >= minIdentical ? 'holds' : 'nothing-verified';
}

/**
 * Reads a log's text. Throws `InputError` `bad-result-log` with the line number on a line that is not of this version.
 * A cut last line (a run that was killed) is dropped, and the log is then not complete.
 */
export function parseLog(text: string, name: string): ResultLog {
  const lines = text.split('\n');
  const cut = lines.pop() !== '';
  const parsed = lines.map((line, i) => parseLine(line, name, i + 1));
  const head = parsed[0];
  if (head?.type !== 'run')
    throw new InputError('bad-result-log', `${name}: not a guest-abi result log`, { given: name });
  if ((head.schema as string) !== LOG_SCHEMA)
    throw new InputError(
      'bad-result-log',
      `${name}: schema '${head.schema as string}', this version reads '${LOG_SCHEMA}'`,
    );
  const ends = parsed.filter((line) => line.type === 'end');
  return {
    version: head.version,
    startedAt: head.startedAt,
    hosts: parsed.filter((line) => line.type === 'host'),
    cells: parsed.filter((line) => line.type === 'cell'),
    complete: !cut && ends.length === 1 && ends[0]!.complete,
  };
}

const LINE_FIELDS: Record<LogLine['type'], readonly string[]> = {
  run: ['schema', 'version', 'startedAt'],
  host: ['id', 'kernel', 'module', 'cpu', 'note'],
  cell: ['pair', 'smp', 'subject', 'hosts', 'scenario', 'verdict', 'predicted', 'forced', 'evidence', 'reasons', 'ms'],
  end: ['complete'],
};

function parseLine(line: string, name: string, number: number): LogLine {
  const bad = (why: string): InputError =>
    new InputError('bad-result-log', `${name}:${number}: ${why}`, { given: name });
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw bad('not JSON');
  }
  const type = (value as { type?: unknown } | null)?.type;
  const fields =
    typeof type === 'string' && Object.hasOwn(LINE_FIELDS, type) ? LINE_FIELDS[type as LogLine['type']] : null;
  if (!fields) throw bad('not a line of a guest-abi result log');
  const missing = fields.find((field) => !Object.hasOwn(value as object, field));
  if (missing) throw bad(`'${type as string}' line without '${missing}'`);
  const verdicts: readonly string[] = VERDICTS;
  const cell = value as CellResult;
  if (type === 'cell' && !(verdicts.includes(cell.verdict) && verdicts.includes(cell.predicted)))
    throw bad(`unknown verdict '${cell.verdict}'`);
  return value as LogLine;
}
