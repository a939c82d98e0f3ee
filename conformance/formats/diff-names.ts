/** What differs between two CPUs described in names. */
import type { NamedCpu } from './dump.js';

export interface NameDifference {
  readonly kind: 'name';
  /** `model`, `vendor`, `feature avx2`, `usable Nehalem`, `canonical Nehalem`. */
  readonly what: string;
  /** Null where the side does not name it. */
  readonly a: string | null;
  readonly b: string | null;
}

/** Feature policies, model and vendor; `open` counts features that only one of a pair of dumps could name. */
export function diffNames(
  a: NamedCpu | null,
  b: NamedCpu | null,
): { differences: NameDifference[]; equal: number; open: number } {
  if (!a || !b) return { differences: [], equal: 0, open: (a ?? b)?.features.length ?? 0 };
  const facts = new Map<string, { a: string | null; b: string | null }>();
  for (const [what, value] of factsOf(a)) facts.set(what, { a: value, b: null });
  for (const [what, value] of factsOf(b)) facts.set(what, { a: facts.get(what)?.a ?? null, b: value });
  // libvirt leaves the vendor out of most descriptions, only some list models, and before 11.0 none what these stand for.
  const lists = [a, b].every(({ offered }) => offered.length);
  const resolves = [a, b].every(({ offered }) => offered.some(({ canonical }) => canonical !== null));
  const optional = (what: string): boolean =>
    what === 'vendor' || (what.startsWith('usable ') && !lists) || (what.startsWith('canonical ') && !resolves);
  const compared = [...facts].filter(([what, sides]) => !(optional(what) && (sides.a === null || sides.b === null)));
  const differences = compared
    .filter(([, sides]) => sides.a !== sides.b)
    .map(([what, sides]): NameDifference => ({ kind: 'name', what, ...sides }));
  return { differences, equal: compared.length - differences.length, open: facts.size - compared.length };
}

const factsOf = ({ model, vendor, features, offered }: NamedCpu): [string, string][] => [
  ...(model === null ? [] : ([['model', model]] as [string, string][])),
  ...(vendor === null ? [] : ([['vendor', vendor]] as [string, string][])),
  ...features.map(({ name, policy }): [string, string] => [`feature ${name}`, policy]),
  ...offered.flatMap(({ name, usable, canonical }): [string, string][] => [
    [`usable ${name}`, usable],
    ...(canonical === null ? [] : ([[`canonical ${name}`, canonical]] as [string, string][])),
  ]),
];
