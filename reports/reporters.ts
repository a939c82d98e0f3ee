/** All reporters by format; each is loaded when it is asked for. */
import { InputError } from '../corpora/errors.js';
import { type CheckReporter, checksOf } from './checks.js';
import type { ResultLog } from './result-log.js';

/** What a reader of a whole log may choose. */
export interface ReportOptions {
  /** ANSI colours: `text` only. */
  readonly color: boolean;
  /** All reasons: `text` only. */
  readonly verbose: boolean;
  readonly minIdentical?: number;
}

type LogReporter = (log: ResultLog, options: ReportOptions) => string;

/** Formats of checks: what a result log and the gate can both be told in. */
const CHECK_REPORTERS = {
  junit: async (): Promise<CheckReporter> => (await import('./junit.js')).junitReport,
  sarif: async (): Promise<CheckReporter> => (await import('./sarif.js')).sarifReport,
  markdown: async (): Promise<CheckReporter> => (await import('./markdown.js')).markdownReport,
  github: async (): Promise<CheckReporter> => (await import('./github.js')).githubReport,
  tap: async (): Promise<CheckReporter> => (await import('./tap.js')).tapReport,
} as const;
export type CheckFormat = keyof typeof CHECK_REPORTERS;
export const CHECK_FORMATS = Object.keys(CHECK_REPORTERS) as readonly CheckFormat[];

/** Formats that show what only a result log has. */
const LOG_REPORTERS = {
  text: async (): Promise<LogReporter> => (await import('./text.js')).textReport,
  json: async (): Promise<LogReporter> => {
    const { jsonReport } = await import('./json.js');
    return (log, { minIdentical }) => `${JSON.stringify(jsonReport(log, minIdentical), null, 1)}\n`;
  },
  html: async (): Promise<LogReporter> => (await import('./html/report.js')).htmlReport,
} as const;
export type LogFormat = keyof typeof LOG_REPORTERS | CheckFormat;
export const LOG_FORMATS = [...(Object.keys(LOG_REPORTERS) as LogFormat[]), ...CHECK_FORMATS] as const;

export const checkReporter = (format: CheckFormat): Promise<CheckReporter> => CHECK_REPORTERS[format]();

/** The report of a log in any format. Throws `InputError` `unknown-format`. */
export async function reportOf(format: LogFormat, log: ResultLog, options: ReportOptions): Promise<string> {
  if (Object.hasOwn(LOG_REPORTERS, format)) {
    const reporter = await LOG_REPORTERS[format as keyof typeof LOG_REPORTERS]();
    return reporter(log, options);
  }
  if (!Object.hasOwn(CHECK_REPORTERS, format))
    throw new InputError('unknown-format', `unknown format '${format}': ${LOG_FORMATS.join(', ')}`, { given: format });
  const reporter = await checkReporter(format as CheckFormat);
  return reporter(checksOf(log, options.minIdentical));
}
