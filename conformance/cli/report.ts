/** Reports of result logs: one, several merged, two held against each other. */
import { existsSync } from 'node:fs';
import { EXIT, type ExitCode, InputError } from '../../corpora/errors.js';
import { writeFileWhole } from '../../corpora/write-file.js';
import { compareLogs, comparisonText, logText, mergeLogs, type NamedLog } from '../../reports/merge.js';
import { type LogFormat, reportOf } from '../../reports/reporters.js';
import { missingShards, type ResultLog } from '../../reports/result-log.js';
import { incompleteText } from '../../reports/text.js';
import { readLog } from '../run/log-writer.js';
import { type CommonOptions, print, printJson, warn } from './output.js';
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
  if (files.length === 0) throw noLogs();
  // A part alone is told of as what it is; several logs must make up the whole.
  return files.length === 1 ? readLog(files[0]!) : mergeLogs(files.map(named));
}

const noLogs = (): InputError => new InputError('no-logs', 'name a result log: guest-abi-results/run.jsonl, say');
const named = (name: string): NamedLog => ({ name, log: readLog(name) });

/** Writes one log of several. Exit code 3 where they are not the whole run: what is missing is told. */
export function merge(files: readonly string[], { out, json }: CommonOptions & { readonly out: string }): ExitCode {
  if (existsSync(out)) throw new InputError('log-exists', `${out} exists`, { given: out });
  if (files.length === 0) throw noLogs();
  const log = mergeLogs(files.map(named));
  writeFileWhole(out, [Buffer.from(logText(log))]);
  if (json)
    printJson('merge', {
      logs: files,
      out,
      cells: log.cells.length,
      complete: log.complete,
      missing: missingShards(log),
    });
  else print(`${out}: ${log.cells.length} cells of ${files.length} logs`);
  if (!log.complete) warn(incompleteText(log));
  return log.complete ? EXIT.holds : EXIT.cannot;
}

/** Exit code 1 where a cell of both has another verdict or other reasons, 3 where they have none in common. */
export function compare(before: string, after: string, { json }: CommonOptions): ExitCode {
  const comparison = compareLogs(readLog(before), readLog(after));
  if (json) printJson('log-comparison', { ...comparison });
  else print(comparisonText(comparison));
  if (comparison.changed.length > 0) return EXIT.broken;
  return comparison.same > 0 ? EXIT.holds : EXIT.cannot;
}
