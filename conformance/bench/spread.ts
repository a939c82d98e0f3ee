/** The middle and the spread of many measurements. */
export interface Spread {
  readonly least: number;
  readonly lower: number;
  readonly median: number;
  readonly upper: number;
}

/** Least value and quartiles. Precondition: at least one value. */
export function quartiles(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (part: number): number => sorted[Math.floor((sorted.length - 1) * part)]!;
  return { least: at(0), lower: at(0.25), median: at(0.5), upper: at(0.75) };
}
