/** The checklist of a machine type before its release: what was asked, what came of it, and the evidence. */

/** `open`: neither shown nor refuted, for want of a host or of a run. */
export type ItemOutcome = 'passed' | 'failed' | 'open';

export interface ChecklistItem {
  /** Stable: `models`, `contracts`, `predecessor`, `names`, `kernels`, `runs`, `predecessor-moves`. */
  readonly id: string;
  /** What must be so, as a sentence. */
  readonly title: string;
  readonly outcome: ItemOutcome;
  /** What was counted or seen. */
  readonly evidence: readonly string[];
  /** Why it did not pass. */
  readonly problems: readonly string[];
}

export type QualifyVerdict = 'qualified' | 'not-qualified' | 'incomplete';

/** Qualified only where everything was shown. */
export function verdictOf(items: readonly ChecklistItem[]): QualifyVerdict {
  if (items.some(({ outcome }) => outcome === 'failed')) return 'not-qualified';
  return items.every(({ outcome }) => outcome === 'passed') ? 'qualified' : 'incomplete';
}

/** An item of definitions: it fails where it has problems. */
export const item = (
  id: string,
  title: string,
  evidence: readonly string[],
  problems: readonly string[],
): ChecklistItem => ({ id, title, outcome: problems.length > 0 ? 'failed' : 'passed', evidence, problems });
