/** Reports of result logs: one, several merged, two held against each other. */
import { existsSync } from 'node:fs';
import { EXIT, type ExitCode, InputError } from '../../corpora/errors.js';
import { writeFileWhole } from '../../corpora/write-file.js';
import { compareLogs, comparisonText, logText, mergeLogs } from '../../reports/merge.js';
import { type LogFormat, reportOf } from '../../reports/reporters.js';
import type { ResultLog } from '../../reports/result-log.js';
import { readLog } from '../run/log-writer.js';
import { type CommonOptions, print, printJson } from './output.js';
import { exitOf, textOptions } from './verify.js';

export interface ReportCommandOptions extends CommonOptions {
  readonly format: LogFormat;
  readonly out?: string;
}

/** Prints or writes the report; gives the exit code of the run that it tells of. */
export async function report(files: readonly string[], options: ReportCommandOptions): Promise<ExitCode> {
  const log = readLogs(files);
  const text = await reportOf(options.json ? 'json' : options.format, log, {
    ...textOptions(options),
    ...(options.out === undefined ? {} : { color: false }),
  });
  if (options.out === undefined) print(text);
  else writeFileWhole(options.out, [Buffer.from(text)]);
  return exitOf(log);
}

/** Throws `InputError` where logs are none, or of different runs. */
function readLogs(files: readonly string[]): ResultLog {
  if (files.length === 0) throw new InputError('no-logs', 'name a result log: guest-abi-results/run.jsonl, say');
  return mergeLogs(files.map((name) => ({ name, log: readLog(name) })));
}

/** Writes one log of several. */
export function merge(files: readonly string[], { out, json }: CommonOptions & { readonly out: string }): ExitCode {
  if (existsSync(out)) throw new InputError('log-exists', `${out} exists`, { given: out });
  const log = readLogs(files);
  writeFileWhole(out, [Buffer.from(logText(log))]);
  if (json) printJson('merge', { logs: files, out, cells: log.cells.length, complete: log.complete });
  else print(`${out}: ${log.cells.length} cells of ${files.length} logs${log.complete ? '' : ', not complete'}`);
  return EXIT.holds;
}

/** Exit code 1 where a cell of both has another verdict or other reasons, 3 where they have none in common. */
export function compare(before: string, after: string, { json }: CommonOptions): ExitCode {
  const comparison = compareLogs(readLog(before), readLog(after));
  if (json) printJson('log-comparison', { ...comparison });
  else print(comparisonText(comparison));
  if (comparison.changed.length > 0) return EXIT.broken;
  return comparison.same > 0 ? EXIT.holds : EXIT.cannot;
}
