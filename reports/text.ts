/** The text report: hosts, the table of verdicts, reasons under each row, and what it all means. */
import { styleText } from 'node:util';
import { type CellResult, expectedWord, isUnexpected, type Verdict } from '../corpora/verdict.js';
import { findingLines, nameLines } from './reasons.js';
import {
  type Conclusion,
  conclude,
  type HostSummary,
  type Judged,
  missingShards,
  type ResultLog,
  totalsOf,
} from './result-log.js';
import { summarize, type TableRow, verdictTable } from './table.js';

export interface TextOptions {
  readonly color: boolean;
  /** All reasons, not only the first `FEW` of a row. */
  readonly verbose: boolean;
  readonly minIdentical?: number;
}

type Style = Parameters<typeof styleText>[0];
const COLOR: Readonly<Record<Verdict, Style>> = {
  identical: 'green',
  refused: 'yellow',
  altered: 'magenta',
  skipped: 'gray',
  changed: 'red',
  dropped: 'red',
  crashed: 'red',
  hung: 'red',
};
const FEW = 4;

export function textReport(log: ResultLog, options: TextOptions): string {
  const paint = textPainter(options.color);
  return [
    ...hostLines(log.hosts),
    ...tableLines(log.cells, paint, options.verbose),
    ...(log.complete ? [] : [incompleteText(log)]),
    conclusionLine(log, options.minIdentical),
  ].join('\n');
}

/** Colours text, or leaves it. */
export const textPainter =
  (color: boolean) =>
  (style: Style, text: string): string =>
    color ? styleText(style, text, { validateStream: false }) : text;

export function hostLines(hosts: readonly HostSummary[]): string[] {
  const id = width(hosts.map((host) => host.id));
  const system = width(hosts.map(systemOf));
  return ['Hosts', ...hosts.map((host) => `  ${host.id.padEnd(id)}  ${systemOf(host).padEnd(system)}  ${host.note}`)];
}

const systemOf = (host: HostSummary): string => `${host.kernel} ${host.module}`;
const width = (texts: readonly string[]): number => Math.max(0, ...texts.map((text) => text.length));

export function tableLines(
  cells: readonly CellResult[],
  paint: (style: Style, text: string) => string,
  verbose: boolean,
): string[] {
  if (cells.length === 0) return ['No cells were run.'];
  const table = verdictTable(cells);
  const title = width(['Pair', ...table.rows.map((row) => row.title)]);
  const widths = table.columns.map((column, i) =>
    width([column, ...table.rows.map((row) => summarize(row.cells[i]!).text)]),
  );
  const line = (row: TableRow): string =>
    [row.title.padEnd(title), ...row.cells.map((own, i) => painted(own, widths[i]!, paint))].join('  ').trimEnd();
  const head = ['Pair'.padEnd(title), ...table.columns.map((column, i) => column.padEnd(widths[i]!))]
    .join('  ')
    .trimEnd();
  return [head, ...table.rows.flatMap((row) => [line(row), ...rowReasons(row, verbose)])];
}

function painted(cells: readonly CellResult[], pad: number, paint: (style: Style, text: string) => string): string {
  const { verdict, text } = summarize(cells);
  return verdict ? paint(COLOR[verdict], text.padEnd(pad)) : text.padEnd(pad);
}

/** The distinct reasons of a row's cells; each says whether it was predicted. */
function rowReasons(row: TableRow, verbose: boolean): string[] {
  const cells = row.cells.flat();
  const lines = new Set(
    cells.flatMap((cell) => {
      const note = predictedNote(cell);
      return findingLines(cell.reasons).map((line) => `${line}${note}`);
    }),
  );
  const all = [...lines].map((line) => `    ${line}`);
  if (verbose) return [...all, ...nameLines(cells.flatMap(({ reasons }) => reasons)).map((line) => `      ${line}`)];
  return all.length <= FEW ? all : [...all.slice(0, FEW), `    and ${all.length - FEW} more (-v shows all)`];
}

const predictedNote = (cell: CellResult): string => {
  if (cell.verdict === 'skipped') return '';
  return isUnexpected(cell) ? ` (UNEXPECTED: predicted ${expectedWord(cell)})` : ' (as predicted)';
};

const WORDS: Readonly<Record<Conclusion, string>> = {
  holds: 'Holds',
  broken: 'BROKEN',
  'nothing-verified': 'Nothing verified',
  incomplete: 'Not complete',
};

/** Why a log is not complete, as a sentence. */
export function incompleteText(log: ResultLog): string {
  const missing = missingShards(log);
  if (missing.length === 0) return 'The run was cut short: this log is not complete.';
  const parts = missing.map((part) => part.replace('/', ' of ')).join(', ');
  return `Shard ${parts} is missing: this log is not complete.`;
}

/** `Holds: 18 identical, 7 refused as predicted, 0 changed` */
export function conclusionLine(log: Judged, minIdentical?: number): string {
  const totals = totalsOf(log.cells);
  const { byVerdict, refusedAsPredicted, unexpected } = totals;
  const counts = [
    `${byVerdict.identical} identical`,
    `${refusedAsPredicted} refused as predicted`,
    ...(byVerdict.altered ? [`${byVerdict.altered} altered`] : []),
    `${byVerdict.changed} changed`,
    ...(['dropped', 'crashed', 'hung', 'skipped'] as const)
      .filter((verdict) => byVerdict[verdict] > 0)
      .map((verdict) => `${byVerdict[verdict]} ${verdict}`),
    ...(unexpected ? [`${unexpected} unexpected`] : []),
  ].join(', ');
  const apart = [
    ...countedApart('with forced features (*)', totals.forced),
    ...countedApart('on recorded hosts (~), where no kernel ran', totals.recorded),
  ].join('');
  return `${WORDS[conclude(log, minIdentical)]}: ${counts}${apart}`;
}

/** `; with forced features (*), counted apart: 3 identical`, or nothing. */
function countedApart(what: string, counts: Readonly<Record<Verdict, number>>): string[] {
  const present = Object.entries(counts).filter(([, many]) => many > 0);
  if (present.length === 0) return [];
  return [`; ${what}, counted apart: ${present.map(([verdict, many]) => `${many} ${verdict}`).join(', ')}`];
}
