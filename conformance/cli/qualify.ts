/** `qualify`: runs what a new machine type must show, prints the checklist and writes the summary. */
import type { Definitions } from '../../corpora/definitions.js';
import { EXIT, type ExitCode } from '../../corpora/errors.js';
import type { CellResult } from '../../corpora/verdict.js';
import { writeFileWhole } from '../../corpora/write-file.js';
import { RECORDED } from '../../reports/result-log.js';
import type { NamedHost } from '../hosts/questions/named-host.js';
import { committedCaptures, openCapture } from '../hosts/recorded/open-capture.js';
import type { ChecklistItem, QualifyVerdict } from '../qualify/checklist.js';
import { qualify } from '../qualify/qualify.js';
import { type Qualification, staleness } from '../qualify/summary.js';
import type { Cell } from '../run/cell.js';
import { LogWriter } from '../run/log-writer.js';
import { openHosts } from './hosts.js';
import { readInputText } from './input-text.js';
import { anyGlob, globMatcher } from './options.js';
import { type CommonOptions, print, printJson, warn } from './output.js';
import { definitionsOf } from './pairs.js';
import { loggedOptions, runLogged, runOptions } from './verify.js';

export interface QualifyOptions extends CommonOptions {
  readonly machine?: string;
  readonly cpu?: readonly string[];
  readonly host?: readonly string[];
  readonly jobs: number;
  readonly acceptNotRun?: readonly string[];
  readonly log?: string;
  readonly resume?: string;
  readonly out?: string;
  readonly check?: string;
}

const EXITS: Readonly<Record<QualifyVerdict, ExitCode>> = {
  qualified: EXIT.holds,
  'not-qualified': EXIT.broken,
  incomplete: EXIT.cannot,
};

/** Gives the exit code: 0 qualified, 1 not, 3 where something was not shown. */
export async function qualifyMachine(options: QualifyOptions & { readonly machine: string }): Promise<ExitCode> {
  const definitions = definitionsOf(options.corpora);
  definitions.machine(options.machine);
  const { cpu, acceptNotRun = [] } = options;
  await using opened = await openHosts(options.host ?? []);
  const summary = await qualify({
    ...{ machine: options.machine, definitions, hosts: opened.hosts, kernels: await supportedKernels() },
    ...(cpu ? { wanted: anyGlob(cpu) } : {}),
    notRun: acceptNotRun.map((glob) => ({ glob, matches: globMatcher(glob) })),
    run: (cells) => runAll(cells, options, definitions),
  });
  if (options.out) writeFileWhole(options.out, [Buffer.from(`${JSON.stringify(summary, null, 1)}\n`)]);
  if (options.json) print(JSON.stringify(summary, null, 1));
  else print(qualifyText(summary, options));
  return EXITS[summary.verdict];
}

/** A summary that was kept: is it what was signed off, and of the corpora as they are now? */
export function checkSummary(file: string, options: CommonOptions): ExitCode {
  const text = readInputText(file);
  const stale = staleness(text, file, definitionsOf(options.corpora));
  const { machine, verdict } = JSON.parse(text) as Qualification;
  if (options.json) printJson('qualification-check', { file, machine, verdict, stale });
  else
    print(
      [
        ...stale,
        `${file}: ${machine} ${verdict}, ${stale.length > 0 ? 'of other corpora than these' : 'signed off as it stands'}`,
      ].join('\n'),
    );
  return stale.length > 0 ? EXIT.broken : EXITS[verdict];
}

async function supportedKernels(): Promise<NamedHost[]> {
  const opened = await Promise.all(committedCaptures().map(openCapture));
  return opened.map(({ name, host }) => ({ id: `${RECORDED}${name}`, host }));
}

/** Results go to a log as they come, so that a long run can be cut and gone on with. */
async function runAll(
  cells: readonly Cell[],
  { jobs, log, resume, corpora }: QualifyOptions,
  definitions: Definitions,
): Promise<readonly CellResult[]> {
  if (cells.length === 0) return [];
  const logged = loggedOptions(corpora ? { corpora } : {});
  const writer = resume ? LogWriter.resume(logged, resume) : LogWriter.create(logged, log, { suffix: 'qualify' });
  warn(`log: ${writer.file}`);
  const ran = await runLogged(cells, { ...runOptions({}), jobs, definitions }, writer);
  return ran.cells;
}

const MARKS: Readonly<Record<ChecklistItem['outcome'], string>> = { passed: 'yes ', failed: 'NO  ', open: 'open' };
const FEW = 6;

function qualifyText(summary: Qualification, { verbose, out }: QualifyOptions): string {
  const few = (lines: readonly string[]): readonly string[] =>
    verbose || lines.length <= FEW ? lines : [...lines.slice(0, FEW), `and ${lines.length - FEW} more (-v shows all)`];
  return [
    `${summary.machine}, ${summary.models.length} models${summary.predecessor ? `, after ${summary.predecessor}` : ''}`,
    ...summary.items.flatMap(({ title, outcome, evidence, problems }) => [
      `${MARKS[outcome]}  ${title}`,
      ...few(evidence).map((line) => `        ${line}`),
      ...few(problems).map((line) => `      ! ${line}`),
    ]),
    `${summary.machine}: ${summary.verdict}`,
    `digest ${summary.digest}${out ? `, written to ${out}` : ''}`,
  ].join('\n');
}
