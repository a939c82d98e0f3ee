/** Checks: what the formats of CI systems can tell. A result log becomes checks here; the gate makes its own; one reporter per format shows them. */
import { parsePair } from '../corpora/pair.js';
import { type CellResult, expectedWord, isUnexpected, type Reason, type Verdict } from '../corpora/verdict.js';
import { findingLines, reasonLines } from './reasons.js';
import { type Conclusion, conclude, isBreak, isRecorded, type ResultLog } from './result-log.js';
import { conclusionLine, incompleteText } from './text.js';

/** `passed` only where something real was compared and found the same; whatever proves nothing is `skipped`, with why. */
export type Outcome = 'passed' | 'failed' | 'skipped';

/** The verdict of a skipped check that a reviewer must see: what was released, and is there no more. */
export const REMOVED = 'removed';

export const isForReview = ({ outcome, verdict }: Check): boolean => outcome === 'skipped' && verdict === REMOVED;

/** Where a finding stands in somebody's files. */
export interface Place {
  /** Relative to the repository, or to the corpora folder where `inCorpora`. */
  readonly file: string;
  readonly line: number | null;
  readonly inCorpora: boolean;
}

export interface Check {
  /** What stands together: `local: boot`, `lab:6.12.107+deb13/EPYC > local: migrate`. */
  readonly group: string;
  /** Unique within the group: `pc-i440fx-1.6/Nehalem`. */
  readonly name: string;
  readonly outcome: Outcome;
  /** One word: a verdict of a cell, or of another check. */
  readonly verdict: string;
  /** One line: what is wrong, or why it was skipped; empty where it passed. */
  readonly summary: string;
  readonly reasons: readonly Reason[];
  readonly place: Place | null;
  /** Wall time in milliseconds. */
  readonly ms: number;
}

/** All that a check reporter shows. */
export interface CheckReport {
  /** `guest-abi verify` */
  readonly title: string;
  /** Of guest-abi. */
  readonly version: string;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  readonly conclusion: Conclusion;
  /** One line: the conclusion with its counts. */
  readonly summary: string;
  /** What it was run on: name and value. */
  readonly facts: readonly (readonly [string, string])[];
  readonly checks: readonly Check[];
}

/** A reporter of checks: a pure function to a whole document of its format. */
export type CheckReporter = (report: CheckReport) => string;

/** The checks of a log: one for each cell, and one that fails where the run was cut short or verified nothing. */
export function checksOf(log: ResultLog, minIdentical?: number): CheckReport {
  const conclusion = conclude(log, minIdentical);
  const summary = conclusionLine(log, minIdentical);
  return {
    title: 'guest-abi verify',
    version: log.version,
    startedAt: log.startedAt,
    conclusion,
    summary,
    facts: log.hosts.map(({ id, kernel, module, cpu, note }) => [id, `${kernel} ${module}, ${cpu}: ${note}`]),
    checks: [...log.cells.map(checkOf), ...runChecks(log, conclusion, summary)],
  };
}

function checkOf(cell: CellResult): Check {
  const outcome = outcomeOf(cell);
  return {
    group: groupOf(cell),
    name: [cell.pair, cell.smp === '1' ? '' : cell.smp, cell.subject === 'reference-vmm' ? '' : cell.subject]
      .filter(Boolean)
      .join(' '),
    outcome,
    verdict: cell.verdict,
    summary: outcome === 'passed' ? '' : summaryOf(cell),
    reasons: cell.reasons,
    place: {
      file: `contracts/${parsePair(cell.pair).cpu.model.replace(/-v\d+$/, '')}.json`,
      line: null,
      inCorpora: true,
    },
    ms: cell.ms,
  };
}

/** Forced and recorded cells stand apart, as in every report. */
const groupOf = (cell: CellResult): string =>
  `${cell.hosts.join(' > ')}: ${cell.scenario}${cell.forced.length > 0 && !isRecorded(cell) ? ' (features forced)' : ''}`;

function outcomeOf(cell: CellResult): Outcome {
  if (isBreak(cell)) return 'failed';
  return cell.verdict === 'identical' && !isRecorded(cell) ? 'passed' : 'skipped';
}

const NOTE: Partial<Readonly<Record<Verdict, string>>> = {
  refused: 'refused, as predicted',
  altered: "altered, as predicted: the kernel's changes were fixed before the guest ran",
};

/** `changed, predicted identical: CPUID 1.EAX[0]: ... (and 3 more)` */
function summaryOf(cell: CellResult): string {
  const word = isRecorded(cell) && !isBreak(cell) ? `${cell.verdict} by a recorded host: no kernel ran` : noteOf(cell);
  const [first, ...more] = reasonLines(cell.reasons);
  return `${word}${first ? `: ${first}` : ''}${more.length > 0 ? ` (and ${more.length} more)` : ''}`;
}

const noteOf = (cell: CellResult): string =>
  isUnexpected(cell) ? `${cell.verdict}, predicted ${expectedWord(cell)}` : (NOTE[cell.verdict] ?? cell.verdict);

/** CI systems call a run of nothing but skips green. */
function runChecks(log: ResultLog, conclusion: Conclusion, summary: string): Check[] {
  const check = { group: 'the run', reasons: [], place: null, ms: 0 };
  const cut = incompleteText(log);
  return [
    ...(log.complete ? [] : [{ ...check, name: 'complete', outcome: 'failed' as const, verdict: 'cut', summary: cut }]),
    ...(conclusion === 'nothing-verified'
      ? [{ ...check, name: 'verified', outcome: 'failed' as const, verdict: conclusion, summary }]
      : []),
  ];
}

/** Checks by group, in the order of their first. */
export const byGroup = (checks: readonly Check[]): Map<string, Check[]> => groupBy(checks, ({ group }) => group);

/** Values under their keys, in the order of first sight. */
export function groupBy<T>(values: readonly T[], keyOf: (value: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const value of values) {
    const group = groups.get(keyOf(value));
    if (group) group.push(value);
    else groups.set(keyOf(value), [value]);
  }
  return groups;
}

/** What a check found, line by line; the summary where it has no reasons. */
export const linesOf = ({ reasons, summary }: Pick<Check, 'reasons' | 'summary'>): string[] =>
  reasons.length === 0 ? [summary] : findingLines(reasons);
