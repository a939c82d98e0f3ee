/** The result log: versioned JSON lines, written as results come; every report is made from it. */
import { isDeepStrictEqual } from 'node:util';
import { InputError } from '../corpora/errors.js';
import { type CellResult, isUnexpected, VERDICTS, type Verdict } from '../corpora/verdict.js';
import { checkLine } from './checked-line.js';
import {
  cpuidRowOf,
  type Digest,
  digestOf,
  type LoggedLife,
  type LoggedTable,
  type LoggedTables,
  msrOf,
} from './logged-life.js';

export const LOG_SCHEMA = 'guest-abi/result-log/2';

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

export const aboutHost = ({ kernel, module, cpu }: HostSummary): string => `${kernel} ${module} ${cpu}`;

export type LogLine =
  | ({ readonly type: 'run'; readonly schema: typeof LOG_SCHEMA } & RunFacts)
  | ({ readonly type: 'host' } & HostSummary)
  /** Stands before the first cell that names it. */
  | ({ readonly type: 'table'; readonly digest: Digest } & LoggedTable)
  | ({ readonly type: 'cell' } & LoggedCell)
  | { readonly type: 'end'; readonly complete: boolean };

/** Of the whole run. */
export interface RunFacts {
  /** Of guest-abi. */
  readonly version: string;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  /** What cells were run with; logs with other options are not of one run. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Which part of the cells this log is of, `1/2`: of a merged log all that it was made of. Absent: of all cells. */
  readonly shards?: readonly string[];
}

/** A result with the dumps that led to it, where the cell was run. */
export interface LoggedCell extends CellResult {
  readonly life?: LoggedLife;
}

/** A whole log, read and checked. `complete` is false where the run was cut short. */
export interface ResultLog extends RunFacts {
  readonly hosts: readonly HostSummary[];
  readonly cells: readonly LoggedCell[];
  /** By digest: every table that a cell's life names. */
  readonly tables: LoggedTables;
  readonly complete: boolean;
}

/** How ids of recorded hosts begin: captures that stood in for kernels. */
export const RECORDED = 'recorded:';

/** True where a capture answered for one of the cell's hosts: the verdict follows from what was recorded, and proves nothing of a kernel. */
export const isRecorded = ({ hosts }: Pick<CellResult, 'hosts'>): boolean =>
  hosts.some((id) => id.startsWith(RECORDED));

/** What names a cell within a log. */
export type CellKey = Pick<CellResult, 'pair' | 'smp' | 'subject' | 'hosts' | 'scenario'>;

export const cellKey = ({ pair, smp, subject, hosts, scenario }: CellKey): string =>
  JSON.stringify([pair, smp, subject, hosts, scenario]);

/** False where two results are of other definitions or contracts: their guests had to show, or were given, another CPU. True where one could not be run. */
export const isOfSameDefinitions = (a: Held, b: Held): boolean =>
  [a, b].some(({ life }) => !life?.expected.length) ||
  (isDeepStrictEqual(a.life!.expected, b.life!.expected) && isOfBroken(a) === isOfBroken(b));

type Held = Pick<LoggedCell, 'reasons'> & { readonly life?: Pick<LoggedLife, 'expected'> };

const isOfBroken = ({ reasons }: Held): boolean => reasons.some(({ code }) => code.startsWith('definition-'));

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

/** The run's outcome: `holds`, `broken`, `nothing-verified` (no cell was identical, and none broke), `incomplete` (what ran would hold, and the rest was not seen). */
export type Conclusion = 'holds' | 'broken' | 'nothing-verified' | 'incomplete';

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
  const refused = cells.filter((cell) => cell.verdict === 'refused' && !isUnexpected(cell));
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
export const isBreak = (cell: Pick<CellResult, 'verdict' | 'predicted' | 'reasons'>): boolean =>
  BREAKS.includes(cell.verdict) || isUnexpected(cell);

/** A contract holds where nothing broke and at least `minIdentical` cells were identical on real kernels, without forced features. */
export function conclude({ cells, complete }: Judged, minIdentical = 1): Conclusion {
  if (cells.some(isBreak)) return 'broken';
  if (totalsOf(cells).byVerdict.identical < minIdentical) return 'nothing-verified';
  return complete ? 'holds' : 'incomplete';
}

/** What of a log its conclusion follows from. */
export interface Judged {
  readonly cells: readonly CellResult[];
  readonly complete: boolean;
}

/** `2/3` for each part of which a log holds none; none where the log is of all cells. Throws `InputError` `logs-differ` where the parts are not of one whole. */
export function missingShards({ shards }: Pick<RunFacts, 'shards'>): string[] {
  const wholes = new Set((shards ?? []).map((shard) => shard.slice(shard.indexOf('/'))));
  if (wholes.size > 1)
    throw new InputError('logs-differ', `logs of different runs: parts ${shards!.join(' and ')} are not of one whole`);
  return [...wholes].flatMap((whole) =>
    Array.from({ length: Number(whole.slice(1)) }, (_, i) => `${i + 1}${whole}`).filter(
      (part) => !shards!.includes(part),
    ),
  );
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
    ...without(head, 'type', 'schema'),
    tables: tablesOf(parsed, name),
    hosts: parsed.filter((line) => line.type === 'host').map((line) => without(line, 'type')),
    cells: parsed.filter((line) => line.type === 'cell').map((line) => without(line, 'type')),
    complete: !cut && ends.length === 1 && ends[0]!.complete,
  };
}

/** A copy that lacks some fields. */
export function without<T extends object, K extends keyof T>(value: T, ...fields: readonly K[]): Omit<T, K> {
  const copy = { ...value };
  for (const field of fields) delete copy[field];
  return copy;
}

/** Throws `InputError` `bad-result-log` where a table is not what its digest says, or a cell names one that did not come before it. */
function tablesOf(lines: readonly LogLine[], name: string): LoggedTables {
  const tables = new Map<Digest, LoggedTable>();
  for (const [i, line] of lines.entries()) {
    const bad = (why: string): InputError =>
      new InputError('bad-result-log', `${name}:${i + 1}: ${why}`, { given: name });
    if (line.type === 'table') {
      const { kind, rows, digest } = line;
      if (!isTable(line)) throw bad(`a table of kind '${kind}' with rows of another form`);
      if (digestOf({ kind, rows }) !== digest) throw bad(`the table's digest is not ${digest}: the log was damaged`);
      tables.set(digest, { kind, rows });
    } else if (line.type === 'cell' && line.life) {
      const { expected, steps } = line.life;
      for (const { cpuid, msrs } of [...expected, ...steps.flatMap(({ vcpus }) => vcpus)])
        if (tables.get(cpuid)?.kind !== 'cpuid' || tables.get(msrs)?.kind !== 'msrs')
          throw bad('the cell names a table that the log does not hold');
    }
  }
  return tables;
}

function isTable({ kind, rows }: LoggedTable): boolean {
  if ((kind !== 'cpuid' && kind !== 'msrs') || !Array.isArray(rows)) return false;
  try {
    for (const row of rows)
      if (kind === 'cpuid') cpuidRowOf(row);
      else msrOf(row);
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

const LINE_FIELDS: Record<LogLine['type'], readonly string[]> = {
  run: ['schema', 'version', 'startedAt'],
  host: ['id', 'kernel', 'module', 'cpu', 'note'],
  table: ['digest', 'kind', 'rows'],
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
  try {
    checkLine(type as string, value);
  } catch (error) {
    throw bad((error as Error).message);
  }
  const verdicts: readonly string[] = VERDICTS;
  const cell = value as CellResult;
  if (type === 'cell' && !(verdicts.includes(cell.verdict) && verdicts.includes(cell.predicted)))
    throw bad(`unknown verdict '${cell.verdict}'`);
  return value as LogLine;
}
