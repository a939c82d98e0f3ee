/** The main job: cells of the named pairs on the named hosts, their results logged and reported. */
import { resolve } from 'node:path';
import { EXIT, type ExitCode, InputError } from '../../corpora/errors.js';
import { type CellResult, SCENARIOS, type Scenario } from '../../corpora/verdict.js';
import { jsonReport } from '../../reports/json.js';
import {
  type Conclusion,
  cellKey,
  conclude,
  type Judged,
  type LoggedCell,
  type ResultLog,
} from '../../reports/result-log.js';
import { textReport } from '../../reports/text.js';
import { type Cell, cellName, cellsOf, keyOf, shard } from '../run/cell.js';
import { LogWriter, readLogOf } from '../run/log-writer.js';
import { predict } from '../run/predict.js';
import { refuseOtherDefinitions } from '../run/resumed.js';
import { type RunOptions, runCells } from '../run/runner.js';
import { PACKAGE_VERSION } from '../version.js';
import { type CommonOptions, print, printJson, warn } from './output.js';
import { definitionsOf, type PairOptions, pairsOn, selectPairs } from './pairs.js';
import { progressLine } from './progress.js';
import { openSubjects } from './subjects.js';

export interface VerifyOptions extends CommonOptions, PairOptions {
  readonly subject?: readonly string[];
  readonly host?: readonly string[];
  readonly scenario?: readonly Scenario[];
  readonly jobs: number;
  readonly shard?: readonly [number, number];
  readonly list?: boolean;
  readonly resume?: string;
  readonly against?: string;
  readonly minIdentical: number;
  readonly log?: string;
  readonly allowAltered?: boolean;
  readonly forceFeatures?: boolean;
}

export const CONCLUSION_EXIT: Readonly<Record<Conclusion, ExitCode>> = {
  holds: EXIT.holds,
  broken: EXIT.broken,
  'nothing-verified': EXIT.cannot,
  incomplete: EXIT.cannot,
};

/** Runs, logs and reports; gives the exit code. */
export async function verify(options: VerifyOptions): Promise<ExitCode> {
  const definitions = definitionsOf(options.corpora);
  const requests = selectPairs(options, definitions);
  if (requests.length === 0)
    throw new InputError('no-pair', 'name pairs: --machine M --cpu C (globs allowed), or --pair M/C');
  const pairs = pairsOn(requests, definitions);
  const logged = loggedOptions(options);
  const before = options.against ? readLogOf(logged, options.against) : null;
  await using opened = await openSubjects(options.subject, options.host);
  const all = cellsOf(pairs(opened.hosts), opened.hosts, options.scenario ?? SCENARIOS);
  const cells = options.shard ? shard(all, ...options.shard) : all;
  const run = { ...runOptions(options), jobs: options.jobs, definitions };
  if (options.list) return list(cells, run, options.json ?? false);
  if (before) requireCommonCell(before.cells, cells, options.against!);
  const part = options.shard?.join('/');
  const writer = options.resume
    ? LogWriter.resume(logged, options.resume, part)
    : LogWriter.create(logged, options.log, { part });
  const started = performance.now();
  const log = await runLogged(cells, run, writer);
  const seconds = (performance.now() - started) / 1000;
  const ran = log.cells.length - writer.done.length;
  if (options.json) print(JSON.stringify(jsonReport(log, options.minIdentical), null, 1));
  else {
    print(`${textReport(log, textOptions(options))}\nlog: ${writer.file}`);
    print(`${ran} cells in ${seconds.toFixed(1)} s: ${(ran / seconds).toFixed(1)} a second`);
  }
  const worse = before ? differingCells(before.cells, log.cells) : [];
  for (const line of worse) warn(line);
  return worse.length > 0 ? EXIT.broken : exitOf(log, options.minIdentical);
}

export const exitOf = (log: Judged, minIdentical?: number): ExitCode => CONCLUSION_EXIT[conclude(log, minIdentical)];

export const textOptions = (options: CommonOptions & { minIdentical?: number }) => ({
  color: process.stdout.isTTY && !process.env.NO_COLOR,
  verbose: options.verbose ?? false,
  ...(options.minIdentical === undefined ? {} : { minIdentical: options.minIdentical }),
});

export const runOptions = (options: { allowAltered?: boolean; forceFeatures?: boolean }): RunOptions => ({
  allowAltered: options.allowAltered ?? false,
  forceFeatures: options.forceFeatures ?? false,
  jobs: 1,
});

/** What of the options decides verdicts. Folders of definitions by their whole paths. */
export const loggedOptions = (options: Pick<VerifyOptions, 'allowAltered' | 'forceFeatures' | 'corpora'>) => ({
  allowAltered: options.allowAltered ?? false,
  forceFeatures: options.forceFeatures ?? false,
  corpora: (options.corpora ?? []).map((folder) => resolve(folder)),
});

/** Throws `InputError` `nothing-to-compare` where the log holds none of the cells. */
function requireCommonCell(before: readonly CellResult[], cells: readonly Cell[], file: string): void {
  const known = new Set(before.map(cellKey));
  if (cells.some((cell) => known.has(cellKey(keyOf(cell))))) return;
  throw new InputError('nothing-to-compare', `${file} holds none of the ${cells.length} cells of this run`, {
    given: file,
  });
}

/** How a user ends a run, and how a CI system does. */
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** Runs the cells that the log does not hold yet. A signal ends the run after the cells that are under way; the log can be resumed. */
export async function runLogged(cells: readonly Cell[], options: RunOptions, writer: LogWriter): Promise<ResultLog> {
  const done = new Set(writer.done.map(cellKey));
  const waiting = cells.filter((cell) => !done.has(cellKey({ ...cell, ...keyOf(cell) })));
  refuseOtherDefinitions(writer.file, writer.done, cells, options);
  for (const host of new Set(cells.flatMap((cell) => cell.hosts))) writer.host(host.summary);
  const results = [...writer.done];
  const progress = progressLine();
  const abort = new AbortController();
  const interrupt = (): void => abort.abort();
  for (const signal of SIGNALS) process.once(signal, interrupt);
  let complete = false;
  try {
    const onStart = (name: string): void =>
      progress.update(`${results.length}/${writer.done.length + waiting.length} ${name}`);
    for await (const { result, life } of runCells(waiting, { ...options, signal: abort.signal }, onStart)) {
      results.push(writer.cell(result, life));
    }
    complete = !abort.signal.aborted;
  } finally {
    progress.end();
    for (const signal of SIGNALS) process.removeListener(signal, interrupt);
    writer.end(complete);
  }
  const summaries = cells.flatMap((cell) => cell.hosts).map(({ summary }) => [summary.id, summary] as const);
  const hosts = [...new Map(summaries).values()];
  return {
    version: PACKAGE_VERSION,
    startedAt: '',
    hosts,
    tables: writer.tables,
    cells: inOrder(cells, results),
    complete,
  };
}

/** Results in the order of their cells, whatever order they ended in; those of other cells (a resumed log) first. */
function inOrder(cells: readonly Cell[], results: readonly LoggedCell[]): LoggedCell[] {
  const place = new Map(cells.map((cell, i) => [cellKey(keyOf(cell)), i]));
  const at = (result: LoggedCell): number => place.get(cellKey(result)) ?? -1;
  return [...results].sort((a, b) => at(a) - at(b));
}

function list(cells: readonly Cell[], options: RunOptions, json: boolean): ExitCode {
  const listed = cells.map((cell) => ({ ...keyOf(cell), predicted: predict(cell, options).verdict }));
  if (json) printJson('cells', { cells: listed });
  else print(cells.map((cell, i) => `${cellName(cell)}: ${listed[i]!.predicted}`).join('\n'));
  return EXIT.holds;
}

/** A line for each cell that both logs hold with different verdicts. */
function differingCells(before: readonly CellResult[], after: readonly CellResult[]): string[] {
  const verdicts = new Map(before.map((cell) => [cellKey(cell), cell.verdict]));
  return after
    .filter((cell) => (verdicts.get(cellKey(cell)) ?? cell.verdict) !== cell.verdict)
    .map(
      (cell) =>
        `${cell.pair} ${cell.scenario} on ${cell.hosts.join(' > ')}: was ${verdicts.get(cellKey(cell))}, is ${cell.verdict}`,
    );
}
