/** Logs of shards become one log, and two logs are held against each other. */
import { isDeepStrictEqual } from 'node:util';
import { InputError } from '../corpora/errors.js';
import type { CellResult } from '../corpora/verdict.js';
import {
  aboutHost,
  cellKey,
  type HostSummary,
  isOfSameDefinitions,
  LOG_SCHEMA,
  type LoggedCell,
  type LogLine,
  missingShards,
  type ResultLog,
  without,
} from './result-log.js';

/** A log with the name of its file. */
export interface NamedLog {
  readonly name: string;
  readonly log: ResultLog;
}

/**
 * One log of all cells, in the order given. Throws `InputError` `logs-differ` where they were not written by one version with one set
 * of options and definitions on the same hosts, or hold one cell with two results. Cells of one guest tell definitions apart: of pairs that only
 * one log has, nothing is known.
 */
export function mergeLogs(logs: readonly NamedLog[]): ResultLog {
  const [first, ...others] = logs;
  if (!first) throw new InputError('no-logs', 'no logs to merge');
  for (const other of others) refuseOthers(first, other);
  const hosts = new Map<string, { readonly from: string; readonly host: HostSummary }>();
  const cells = new Map<string, { readonly from: string; readonly cell: LoggedCell }>();
  const guests = new Map<string, { readonly from: string; readonly cell: LoggedCell }>();
  for (const { name, log } of logs) {
    for (const host of log.hosts) {
      const before = hosts.get(host.id);
      if (before && !isDeepStrictEqual(before.host, host))
        throw differ(
          `${before.from} and ${name}: host ${host.id} is ${aboutHost(before.host)} in one and ${aboutHost(host)} in the other`,
        );
      hosts.set(host.id, { from: name, host });
    }
    for (const cell of log.cells) {
      const before = cells.get(cellKey(cell));
      if (before && verdictText(before.cell) !== verdictText(cell))
        throw differ(
          `${before.from} and ${name}: ${titleOf(cell)} is ${verdictText(before.cell)} in one and ${verdictText(cell)} in the other`,
        );
      if (!before) cells.set(cellKey(cell), { from: name, cell });
      if (!cell.life?.expected.length) continue;
      const guest = guestKey(cell, log);
      const same = guests.get(guest);
      if (same && !isOfSameDefinitions(same.cell, cell))
        throw differ(
          `${same.from} and ${name}: ${titleOf(cell)} was run with other definitions or contracts than ${titleOf(same.cell)}`,
        );
      if (!same) guests.set(guest, { from: name, cell });
    }
  }
  return {
    ...without(first.log, 'shards'),
    startedAt: logs.map(({ log }) => log.startedAt).sort()[0]!,
    hosts: [...hosts.values()].map(({ host }) => host),
    tables: new Map(logs.flatMap(({ log }) => [...log.tables])),
    cells: [...cells.values()].map(({ cell }) => cell),
    ...partsOf(logs),
  };
}

/** What a cell's guest follows from, beside definitions: its first host and what runs it there; where features may be forced, every host of the path. */
const guestKey = ({ pair, smp, subject, hosts }: LoggedCell, { options }: ResultLog): string =>
  JSON.stringify([
    pair,
    smp,
    ...(options?.forceFeatures === false ? [subject.split(' > ')[0], hosts[0]] : [subject, hosts]),
  ]);

/** A log that is no part and has every cell of the parts makes them whole. One of other cells says nothing of a part that is missing. */
function partsOf(logs: readonly NamedLog[]): { readonly shards?: readonly string[]; readonly complete: boolean } {
  const ended = logs.every(({ log }) => log.complete);
  const [parts, others] = [true, false].map((is) => logs.filter(({ log }) => (log.shards !== undefined) === is));
  const cells = parts!.flatMap(({ log }) => log.cells.map(cellKey));
  const isWhole = ({ log }: NamedLog): boolean => {
    const own = new Set(log.cells.map(cellKey));
    return cells.every((key) => own.has(key));
  };
  if (parts!.length === 0 || others!.some(isWhole)) return { complete: ended };
  const shards = [...new Set(parts!.flatMap(({ log }) => log.shards!))].sort(byNumber);
  return { shards, complete: ended && missingShards({ shards }).length === 0 };
}

const byNumber = (a: string, b: string): number => Number.parseInt(a, 10) - Number.parseInt(b, 10);

/** `refused`, `refused, predicted identical, with aes forced`. */
const verdictText = ({ verdict, predicted, forced }: CellResult): string =>
  [
    verdict,
    ...(predicted === verdict ? [] : [`predicted ${predicted}`]),
    ...(forced.length > 0 ? [`with ${forced.join(' ')} forced`] : []),
  ].join(', ');

const differ = (why: string): InputError => new InputError('logs-differ', `logs of different runs: ${why}`);

function refuseOthers(a: NamedLog, b: NamedLog): void {
  if (a.log.version !== b.log.version)
    throw differ(`${a.name} is of guest-abi ${a.log.version}, ${b.name} of ${b.log.version}`);
  const [options, others] = [a.log.options ?? {}, b.log.options ?? {}];
  for (const name of new Set([...Object.keys(options), ...Object.keys(others)]))
    if (!isDeepStrictEqual(options[name], others[name]))
      throw differ(
        `${name} is ${JSON.stringify(options[name])} in ${a.name} and ${JSON.stringify(others[name])} in ${b.name}`,
      );
}

/** The log as text: what `parseLog` reads back. */
export function logText({ version, startedAt, options, shards, hosts, tables, cells, complete }: ResultLog): string {
  const lines: LogLine[] = [
    { type: 'run', schema: LOG_SCHEMA, version, startedAt, ...(options && { options }), ...(shards && { shards }) },
    ...hosts.map((host) => ({ type: 'host' as const, ...host })),
    ...[...tables].map(([digest, table]) => ({ type: 'table' as const, digest, ...table })),
    ...cells.map((cell) => ({ type: 'cell' as const, ...cell })),
    { type: 'end', complete },
  ];
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

type Told = Pick<CellResult, 'verdict' | 'predicted' | 'reasons'>;

/** What two logs say of the same cells. */
export interface LogComparison {
  readonly same: number;
  readonly changed: readonly { readonly cell: string; readonly before: Told; readonly after: Told }[];
  readonly onlyBefore: readonly string[];
  readonly onlyAfter: readonly string[];
}

/** A cell is the same where its verdict and its reasons are. */
export function compareLogs(before: ResultLog, after: ResultLog): LogComparison {
  const earlier = new Map(before.cells.map((cell) => [cellKey(cell), cell]));
  const later = new Map(after.cells.map((cell) => [cellKey(cell), cell]));
  const both = [...earlier].filter(([key]) => later.has(key));
  const changed = both
    .map(([key, cell]) => ({ cell: titleOf(cell), before: told(cell), after: told(later.get(key)!) }))
    .filter((pair) => !isSame(pair.before, pair.after));
  const missing = (from: Map<string, LoggedCell>, there: Map<string, LoggedCell>): string[] =>
    [...from].filter(([key]) => !there.has(key)).map(([, cell]) => titleOf(cell));
  return {
    same: both.length - changed.length,
    changed,
    onlyBefore: missing(earlier, later),
    onlyAfter: missing(later, earlier),
  };
}

const told = ({ verdict, predicted, reasons }: CellResult): Told => ({ verdict, predicted, reasons });

const isSame = (a: Told, b: Told): boolean => a.verdict === b.verdict && isDeepStrictEqual(a.reasons, b.reasons);

export const titleOf = ({ pair, smp, subject, hosts, scenario }: CellResult): string =>
  [pair, smp === '1' ? '' : smp, subject === 'reference-vmm' ? '' : subject, 'on', hosts.join(' > '), scenario]
    .filter(Boolean)
    .join(' ');

/** Lines for people. */
export function comparisonText({ same, changed, onlyBefore, onlyAfter }: LogComparison): string {
  const named = (word: string, cells: readonly string[]): string[] => cells.map((cell) => `${word} ${cell}`);
  return [
    ...changed.map(({ cell, before, after }) => {
      const why = (after.reasons[0] ?? before.reasons[0])?.message;
      return `${cell}: was ${before.verdict}, is ${after.verdict}${why ? `: ${why}` : ''}`;
    }),
    ...named('only in the first:', onlyBefore),
    ...named('only in the second:', onlyAfter),
    `${same} cells the same, ${changed.length} otherwise, ${onlyBefore.length} only in the first, ${onlyAfter.length} only in the second`,
  ].join('\n');
}
