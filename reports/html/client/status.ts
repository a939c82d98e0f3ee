/** How the page shows a verdict: a glyph, a word and a class, so that colour never stands alone. */
import type { Cell } from './data.js';

export interface Status {
  /** CSS class and filter value (`status-id.ts` gives each cell its own). */
  readonly id: string;
  readonly glyph: string;
  readonly label: string;
}

const status = (id: string, glyph: string, label: string): Status => ({ id, glyph, label });

/** Worst first: what a square of many cells shows. */
export const STATUSES: readonly Status[] = [
  status('changed', '≠', 'changed'),
  status('dropped', '↓', 'dropped'),
  status('crashed', '✕', 'crashed'),
  status('hung', '∞', 'hung'),
  status('unexpected', '!', 'unexpected'),
  status('refused', '–', 'refused as predicted'),
  status('altered', '≈', 'altered'),
  status('altered-forced', '≋', 'altered, features forced'),
  status('skipped', '·', 'skipped'),
  status('recorded', '~', 'identical by a recorded host'),
  status('forced', '∗', 'identical, features forced'),
  status('identical', '=', 'identical'),
];
const BY_ID = new Map(STATUSES.map((one, weight) => [one.id, { one, weight }]));

export const statusOf = ({ status: id }: Cell): Status => BY_ID.get(id)!.one;

/** 0 is the worst. */
export const weightOf = ({ id }: Status): number => BY_ID.get(id)!.weight;

export const worst = (statuses: readonly Status[]): Status =>
  statuses.reduce((a, b) => (weightOf(a) <= weightOf(b) ? a : b));

/** `12 identical, 3 refused as predicted`, worst first. */
export function tally(statuses: readonly Status[]): { readonly status: Status; readonly count: number }[] {
  const counts = new Map<Status, number>();
  for (const one of statuses) counts.set(one, (counts.get(one) ?? 0) + 1);
  return STATUSES.filter((one) => counts.has(one)).map((one) => ({ status: one, count: counts.get(one)! }));
}
