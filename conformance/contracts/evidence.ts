/** Evidence of contract tables: what real software was seen to give, and whether a table is that. */

import type { ContractShape } from '../../corpora/contracts.js';
import type { CpuidTable } from '../../corpora/cpuid.js';

/** Rows `[leaf, subleaf or "-", eax, ebx, ecx, edx]`, hex without `0x`, as a source recorded them. */
export type EvidenceRows = readonly (readonly string[])[];

/** Tables that one real program gave, by pair and shape. */
export interface EvidenceSource {
  /** As it stands in contracts: `qemu 5.2, KVM_SET_CPUID2`. */
  readonly name: string;
  readonly pairs: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, unknown>>>>>>;
  readonly tables: Readonly<Record<string, EvidenceRows>>;
}

/** A program that was seen to show whole guests what their pairs resolve to: no rows of its own are kept. */
export interface Confirmation {
  /** As it stands in contracts: `qemu 10.0, guest under TCG`. */
  readonly name: string;
  readonly confirms: (machine: string, model: string, shape: ContractShape) => boolean;
}

/** Leaf 0xD belongs to the CPU that the table was taken on, the timing leaf is that host's TSC. */
const HOST_LEAVES: ReadonlySet<string> = new Set(['0000000d', '40000010']);

/** KVM's base leaf names the timing leaf where there is one. */
const withoutTiming = (row: readonly string[]): string =>
  row[0] === '40000000' && row[2] === '40000010' ? row.with(2, '40000001').join(' ') : row.join(' ');

const digits = (value: number): string => value.toString(16).padStart(8, '0');

const textOf = (rows: EvidenceRows): string =>
  rows
    .filter(([leaf]) => !HOST_LEAVES.has(leaf!))
    .map(withoutTiming)
    .sort()
    .join('\n');

/** A table in the form that sources record. */
const evidenceRows = (table: CpuidTable): string[][] =>
  table.rows.map((row) => [
    digits(row.leaf),
    row.subleaf === null ? '-' : digits(row.subleaf),
    ...[row.eax, row.ebx, row.ecx, row.edx].map(digits),
  ]);

/** The sources that gave exactly this table (what is the host's aside) to vCPU 0 of the pair. */
export function evidenceFor(
  table: CpuidTable,
  machine: string,
  model: string,
  shape: ContractShape,
  sources: readonly (EvidenceSource | Confirmation)[],
): string[] {
  const wanted = textOf(evidenceRows(table));
  return sources
    .filter((source) => {
      if ('confirms' in source) return source.confirms(machine, model, shape);
      const { pairs, tables } = source;
      const hash = pairs[machine]?.[model]?.[shape];
      return typeof hash === 'string' && tables[hash] !== undefined && textOf(tables[hash]) === wanted;
    })
    .map(({ name }) => name);
}
