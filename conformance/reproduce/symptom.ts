/** What a failure looks like, whatever step or host shows it: two runs show the same where their symptoms are equal. */
import type { CellResult, Reason } from '../../corpora/verdict.js';
import { isBreak } from '../../reports/result-log.js';

type Told = Pick<CellResult, 'verdict' | 'predicted' | 'reasons'>;

/** Verdict, and each field that is named with what was expected there and what came. */
export const symptomOf = ({ verdict, reasons }: Pick<Told, 'verdict' | 'reasons'>): string =>
  JSON.stringify([verdict, [...new Set(reasons.map(fieldOf))].sort()]);

/** Clocks never read the same twice, nor do the two ends of a leap. */
const fieldOf = ({ code, leaf, subleaf, register, bit, msr, contract, guest }: Reason): string =>
  JSON.stringify([code, leaf, subleaf, register, bit, msr, ...(code === 'time-not-kept' ? [] : [contract, guest])]);

/** `cannot-tell`: the host does not take this CPU, as was to be expected of it, so that the failure cannot show. */
export type Outcome = 'same' | 'different' | 'fixed' | 'cannot-tell';

export function outcomeOf(before: Told, now: Told): Outcome {
  // What was not predicted is a finding, and as a prediction come true it is none any more.
  if (symptomOf(before) === symptomOf(now) && isBreak(before) === isBreak(now)) return 'same';
  if (now.verdict === 'identical' && !isBreak(now)) return 'fixed';
  // A change that was to be expected is one all the same.
  if (isBreak(now)) return 'different';
  return now.verdict === 'refused' || now.verdict === 'skipped' ? 'cannot-tell' : 'fixed';
}
