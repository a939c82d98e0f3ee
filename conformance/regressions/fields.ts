/** CPUID fields by their text (`7.0.EBX`), and tables with some of their bits otherwise. */
import { type CpuidField, CpuidTable, isIndexedLeaf, type Register } from '../../corpora/cpuid.js';

const FORM = /^([0-9A-F]+)(?:\.([0-9A-F]+))?(?:\.(E[A-D]X)(?:\[(\d+)\])?)?$/;

/** Parts of `7.0.EBX[4]`; register and bit null where the text is of a whole row or register. Throws `RangeError` on another text. */
export function parseField(text: string): {
  leaf: number;
  subleaf: number | null;
  register: Register | null;
  bit: number | null;
} {
  const match = FORM.exec(text);
  if (!match) throw new RangeError(`'${text}' is no CPUID field`);
  const [, leaf, subleaf, register, bit] = match;
  return {
    leaf: Number.parseInt(leaf!, 16),
    subleaf: subleaf === undefined ? null : Number.parseInt(subleaf, 16),
    register: (register?.toLowerCase() as Register | undefined) ?? null,
    bit: bit === undefined ? null : Number(bit),
  };
}

/** Bits by field: `{"7.0.EBX": "0x00000810"}`. */
export type FieldBits = Readonly<Record<string, string>>;

/** `table` with `change` made to each field; rows that it lacks are made where `add`. */
export function withFields(
  table: CpuidTable,
  fields: FieldBits,
  change: (was: number, bits: number) => number,
  add = false,
): CpuidTable {
  const rows = new Map(table.rows.map((row) => [`${row.leaf}.${row.subleaf}`, row]));
  for (const [text, bits] of Object.entries(fields)) {
    const { leaf, subleaf, register } = parseField(text) as CpuidField;
    const key = `${leaf}.${subleaf ?? (isIndexedLeaf(leaf) ? 0 : null)}`;
    const row = rows.get(key) ?? (add ? { leaf, subleaf, eax: 0, ebx: 0, ecx: 0, edx: 0 } : undefined);
    if (row) rows.set(key, { ...row, [register]: change(row[register], Number(bits)) >>> 0 });
  }
  return new CpuidTable(rows.values());
}

export const setBits = (was: number, bits: number): number => was | bits;
export const clearBits = (was: number, bits: number): number => was & ~bits;
export const flipBits = (was: number, bits: number): number => was ^ bits;
export const becomes = (_was: number, bits: number): number => bits;
