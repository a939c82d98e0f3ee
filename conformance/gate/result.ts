/** What a gate found: pairs whose guests would see something else, grouped by what did it. Every output of the gate is made from this. */
import type { PropertyValue } from '../../corpora/definitions.js';
import type { CellResult, Reason } from '../../corpora/verdict.js';
import { isBreak } from '../../reports/result-log.js';

/** What happened to released pairs. */
export const CHANGE_KINDS = [
  /** The definitions resolve to another CPU. */
  'changed',
  /** The pair, or what it needs, is gone. */
  'removed',
  /** A frozen table was edited. */
  'contract-changed',
  /** A frozen pair has no contract any more. */
  'contract-removed',
  /** A new contract is not what its pair resolves to. */
  'contract-wrong',
  /** Only for templates: a bit that follows the host. */
  'unpinned',
] as const;
export type ChangeKind = (typeof CHANGE_KINDS)[number];

/** What was edited. */
export interface Cause {
  /** Below the root of the repository (or as given where there is none); null where no file was edited. */
  readonly file: string | null;
  /** 1-based, of the new file; null where it says nothing of one. */
  readonly line: number | null;
  /** The property, where it is one. */
  readonly property: string | null;
  readonly before: PropertyValue | undefined;
  readonly after: PropertyValue | undefined;
  /** One line for a person: `min-level 11 -> 4`. */
  readonly text: string;
}

/** A compat property that gives a released machine type its CPU back, as QEMU writes it. */
export interface CompatLine {
  /** Machine types to whose compat properties it belongs: older ones inherit it. */
  readonly machines: readonly string[];
  /** `{ "Nehalem-x86_64-cpu", "min-level", "11" }`. */
  readonly line: string;
}

/** Pairs that one cause changed in one way. */
export interface GateFinding {
  readonly kind: ChangeKind;
  /** `pc-i440fx-2.3/Nehalem`; for templates what is compared. */
  readonly pairs: readonly string[];
  readonly models: readonly string[];
  readonly machines: readonly string[];
  readonly causes: readonly Cause[];
  readonly reasons: readonly Reason[];
  /** What it means to guests, in words. */
  readonly effects: readonly string[];
  readonly fix: readonly CompatLine[];
}

/** What became of affected pairs on real hosts; null where no host was given. */
export type Boots = readonly CellResult[] | null;

export type GateConclusion = 'holds' | 'broken' | 'nothing-compared';

/** The subject of most gates. */
export const RELEASED_PAIRS = 'released pairs';

export interface GateResult {
  /** `git:1a2b3c4 (origin/main)`, `qemu 5.2`. */
  readonly base: string;
  readonly head: string;
  /** What is counted: `released pairs`. */
  readonly subject: string;
  /** Models (by contract file) of which every released pair is unchanged, with their number. */
  readonly held: readonly { readonly model: string; readonly pairs: number }[];
  readonly totals: { readonly unchanged: number; readonly broken: number; readonly added: number };
  readonly findings: readonly GateFinding[];
  /** Machine types, versions and models that the base has not, with the number of their pairs. */
  readonly added: readonly { readonly what: string; readonly pairs: number }[];
  /** Machine types and models that the head QEMU has not any more, with the number of their pairs: a reviewer's to see, and no break, since QEMU announces removals. */
  readonly removed: readonly { readonly what: string; readonly pairs: number }[];
  /** What a reader must know: what was not compared, what is not frozen yet. */
  readonly notes: readonly string[];
}

/** @param boots of affected pairs; a guest of new definitions that does not see its CPU breaks the gate, whatever the tables say */
export const concludeGate = ({ totals, findings }: GateResult, boots: Boots = null): GateConclusion => {
  if (findings.length > 0 || boots?.some(isBreak)) return 'broken';
  return totals.unchanged > 0 ? 'holds' : 'nothing-compared';
};

const WORDS: Readonly<Record<GateConclusion, string>> = {
  holds: 'Holds',
  broken: 'BROKEN',
  'nothing-compared': 'Nothing compared',
};

export const removedPairs = ({ removed }: GateResult): number => removed.reduce((sum, { pairs }) => sum + pairs, 0);

/** `BROKEN: 12970 released pairs unchanged, 474 broken, 0 new, 1 boot broke` */
export function conclusionText(result: GateResult, boots: Boots = null): string {
  const { unchanged, broken, added } = result.totals;
  const gone = removedPairs(result);
  const broke = boots?.filter(isBreak).length ?? 0;
  const more = broke > 0 ? `, ${broke} boot${broke === 1 ? '' : 's'} broke` : '';
  return `${WORDS[concludeGate(result, boots)]}: ${unchanged} ${result.subject} unchanged, ${broken} broken, ${added} new${gone > 0 ? `, ${gone} removed` : ''}${more}`;
}

/** Findings that have one cause, the widest first: tables differ between machine types, and so do the findings. */
export function sameCause(findings: readonly GateFinding[]): GateFinding[][] {
  const groups = new Map<string, GateFinding[]>();
  for (const finding of findings) {
    const key = JSON.stringify([finding.kind, finding.causes]);
    groups.set(key, [...(groups.get(key) ?? []), finding]);
  }
  const size = (group: readonly GateFinding[]): number => new Set(group.flatMap(({ pairs }) => pairs)).size;
  return [...groups.values()].sort((a, b) => size(b) - size(a));
}
