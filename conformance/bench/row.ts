/** A line of the table of benchmarks, and what makes lines: a file that exports a `Measurement`, named in `measurements.ts`. */
import { quartiles, type Spread } from './spread.js';

export type Unit = 'us' | 'ms' | 's' | 'MiB' | '/s';

export interface Row {
  /** Stable, for who compares runs: `probe-in-process`. */
  readonly id: string;
  /** What was measured, in words. */
  readonly what: string;
  readonly unit: Unit;
  readonly value: Spread | number;
  /** What it is held against, measured in the same run: `ratio` is this row's median by its. */
  readonly against?: { readonly what: string; readonly value: Spread | number; readonly ratio: number };
  /** Of the ratio where there is one, else of the value's median. */
  readonly goal?: { readonly kind: 'at-most' | 'at-least'; readonly value: number };
}

export interface Measurement {
  readonly name: string;
  /** Rows, of work that was done whole: a dump that was not decoded and checked counts for nothing. Throws `GuestAbiError` where this machine cannot. */
  readonly rows: (options: MeasureOptions) => Promise<readonly Row[]> | readonly Row[];
}

export interface MeasureOptions {
  /** Rounds of what takes less than a millisecond; longer work does fewer. */
  readonly rounds: number;
}

export const middle = (value: Spread | number): number => (typeof value === 'number' ? value : value.median);

/** A row that is held against another of the same run. */
export const held = (row: Omit<Row, 'against'>, what: string, other: Spread | number): Row => ({
  ...row,
  against: { what, value: other, ratio: middle(row.value) / middle(other) },
});

/** The same of both. */
export interface Beside {
  readonly ours: Spread;
  readonly qemu: Spread;
}

/** Measures two subjects in turns, `rounds` of each; gives what makes the spreads of one of the things measured. */
export async function beside<S, K extends string>(
  [ours, qemu]: readonly [ours: S, qemu: S],
  rounds: number,
  measure: (subject: S) => Promise<Readonly<Record<K, number>>>,
): Promise<(part: K) => Beside> {
  const [own, other]: [Readonly<Record<K, number>>[], Readonly<Record<K, number>>[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    own.push(await measure(ours));
    other.push(await measure(qemu));
  }
  return (part) => ({ ours: quartiles(own.map((one) => one[part])), qemu: quartiles(other.map((one) => one[part])) });
}

export function isMissed({ value, against, goal }: Row): boolean {
  if (!goal) return false;
  const measured = against ? against.ratio : middle(value);
  return goal.kind === 'at-most' ? measured > goal.value : measured < goal.value;
}
