/** What a kernel that alters CPUID makes of a table: what it adds, and what it takes away. */
import { type CpuidRow, CpuidTable, REGISTERS } from '../../corpora/cpuid.js';

/**
 * The table as a kernel with these additions gives it back: its bits over ours, rows that it adds beside ours. A table without basic leaves
 * (model `base`) it leaves alone: what it adds follows from rows that are there (measured on kvm_pvm).
 */
export function withAdditions(table: CpuidTable, additions: CpuidTable): CpuidTable {
  if (!table.get(0)) return table;
  const own = table.rows.map((row) => unite(row, additions.get(row.leaf, row.subleaf)));
  return new CpuidTable([...own, ...additions.rows.filter((row) => !table.get(row.leaf, row.subleaf))]);
}

const unite = (row: CpuidRow, more: CpuidRow | undefined): CpuidRow =>
  more
    ? { ...row, ...Object.fromEntries(REGISTERS.map((register) => [register, (row[register] | more[register]) >>> 0])) }
    : row;

/** The table without the bits that a kernel takes away. */
export const withoutBits = (table: CpuidTable, removals: CpuidTable): CpuidTable =>
  new CpuidTable(
    table.rows.map((row) => {
      const less = removals.get(row.leaf, row.subleaf);
      if (!less) return row;
      const kept = REGISTERS.map((register) => [register, (row[register] & ~less[register]) >>> 0]);
      return { ...row, ...Object.fromEntries(kept) };
    }),
  );
