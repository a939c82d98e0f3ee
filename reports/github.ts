/** GitHub annotations: workflow commands, one for each distinct finding, since GitHub shows ten of a step and hides the rest. */
import { type Check, type CheckReport, groupBy, isForReview, linesOf, type Place } from './checks.js';

/** GitHub takes ten annotations of each level from a step. */
const MOST = 10;
const SHOWN_NAMES = 5;

export function githubReport(report: CheckReport): string {
  const failed = report.checks.filter(({ outcome }) => outcome === 'failed');
  const findings = [...groupBy(failed.flatMap(findingsOf), ({ line, check }) => `${line}\n${placeKey(check.place)}`)];
  const shown = findings.length > MOST ? findings.slice(0, MOST - 1) : findings;
  const rest = findings.length - shown.length;
  return [
    ...shown.map(([, found]) => annotation(found)),
    ...(rest > 0
      ? [command('error', { title: report.title }, `and ${rest} more findings: see the log or another format`)]
      : []),
    ...reviewNotices(report),
    command('notice', { title: report.title }, report.summary),
    '',
  ].join('\n');
}

/** One notice for all that is gone. */
function reviewNotices({ checks }: CheckReport): string[] {
  const names = checks.filter(isForReview).map(({ name }) => name);
  return names.length === 0 ? [] : [command('notice', { title: 'removed' }, names.join('; '))];
}

interface Finding {
  readonly line: string;
  readonly check: Check;
}

const findingsOf = (check: Check): Finding[] => linesOf(check).map((line) => ({ line, check }));

const placeKey = (place: Place | null): string => (place && !place.inCorpora ? `${place.file}:${place.line}` : '');

/** One finding with the checks that show it: `pc-q35-9.2/EPYC, pc-q35-9.1/EPYC and 30 more (local: boot): changed: CPUID ...` */
function annotation(found: readonly Finding[]): string {
  const { line, check } = found[0]!;
  const names = [...new Set(found.map((one) => one.check.name))];
  const more = names.length - SHOWN_NAMES;
  const who = `${names.slice(0, SHOWN_NAMES).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
  const { place } = check;
  // A file of the package's own corpora is not in the user's repository: naming it would annotate nothing.
  const file = place && !place.inCorpora ? { file: place.file, ...(place.line ? { line: `${place.line}` } : {}) } : {};
  return command('error', { ...file, title: `${check.verdict}: ${who}` }, `${line} (${check.group})`);
}

const command = (level: 'error' | 'notice', properties: Readonly<Record<string, string>>, message: string): string => {
  const written = Object.entries(properties).map(([name, value]) => `${name}=${escapeProperty(value)}`);
  return `::${level} ${written.join(',')}::${escapeData(message)}`;
};

/** actions/toolkit's own escapes. */
const escapeData = (text: string): string =>
  text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
const escapeProperty = (text: string): string => escapeData(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
