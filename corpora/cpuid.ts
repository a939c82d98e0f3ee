/** CPUID rows and tables: one value type for supported, resolved, read-back and observed tables. */
import { hex32, hexShort, parseHex32 } from './hex.js';

export const REGISTERS = ['eax', 'ebx', 'ecx', 'edx'] as const;
export type Register = (typeof REGISTERS)[number];

/** One CPUID answer. Registers are unsigned 32-bit. `subleaf` is null where the leaf has none (ECX is ignored). */
export interface CpuidRow {
  readonly leaf: number;
  readonly subleaf: number | null;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** The JSON form of a row (DESIGN: `guest-abi/<kind>/1`). */
export interface CpuidRowJson {
  readonly leaf: string;
  readonly subleaf: string | null;
  readonly eax: string;
  readonly ebx: string;
  readonly ecx: string;
  readonly edx: string;
}

/** A place in a CPUID table. */
export interface CpuidField {
  readonly leaf: number;
  readonly subleaf: number | null;
  readonly register: Register;
}

/**
 * Leaves whose answer depends on ECX, as KVM marks them with KVM_CPUID_FLAG_SIGNIFCANT_INDEX
 * (Linux arch/x86/kvm/cpuid.c, `__do_cpuid_func`; SDM vol. 2A CPUID; APM vol. 3 appendix E).
 */
const INDEXED_LEAVES: ReadonlySet<number> = new Set([
  0x4, 0x7, 0xb, 0xd, 0xf, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1b, 0x1d, 0x1e, 0x1f, 0x20, 0x23, 0x24, 0x8000001d,
  0x80000020, 0x80000026,
]);

/** True where a leaf's answer depends on ECX. */
export const isIndexedLeaf = (leaf: number): boolean => INDEXED_LEAVES.has(leaf);

type Place = Pick<CpuidRow, 'leaf' | 'subleaf'>;

const rowName = ({ leaf, subleaf }: Place): string =>
  subleaf === null ? hexShort(leaf) : `${hexShort(leaf)}.${hexShort(subleaf)}`;

/** Equal for equal rows in the same order. */
export function contentOfRows(rows: readonly CpuidRow[]): string {
  let content = '';
  for (const { leaf, subleaf, eax, ebx, ecx, edx } of rows)
    content += `${leaf},${subleaf},${eax},${ebx},${ecx},${edx};`;
  return content;
}

const byPlace = (a: Place, b: Place): number => a.leaf - b.leaf || (a.subleaf ?? -1) - (b.subleaf ?? -1);

/** An immutable CPUID table: at most one row per (leaf, subleaf), sorted by them. */
export class CpuidTable implements Iterable<CpuidRow> {
  readonly rows: readonly CpuidRow[];
  #content: string | undefined;

  /** Throws `RangeError` where two rows have one place. */
  constructor(rows: Iterable<CpuidRow>) {
    this.rows = [...rows].sort(byPlace);
    const twice = this.rows.find((row, i) => i > 0 && byPlace(this.rows[i - 1]!, row) === 0);
    if (twice) throw new RangeError(`CPUID ${rowName(twice)} stands twice in one table`);
  }

  [Symbol.iterator](): Iterator<CpuidRow> {
    return this.rows[Symbol.iterator]();
  }

  /** Equal for equal tables. */
  get content(): string {
    this.#content ??= contentOfRows(this.rows);
    return this.#content;
  }

  get size(): number {
    return this.rows.length;
  }

  /** The row of exactly this place, if the table has it. */
  get(leaf: number, subleaf: number | null = null): CpuidRow | undefined {
    let [from, to] = [0, this.rows.length];
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (byPlace(this.rows[middle]!, { leaf, subleaf }) < 0) from = middle + 1;
      else to = middle;
    }
    const row = this.rows[from];
    return row?.leaf === leaf && row.subleaf === subleaf ? row : undefined;
  }

  /** The value of one register, or 0 where the table has no such row. */
  value(leaf: number, subleaf: number | null, register: Register): number {
    return this.get(leaf, subleaf)?.[register] ?? 0;
  }

  toJSON(): CpuidRowJson[] {
    return this.rows.map(rowToJson);
  }

  static fromJson(rows: Iterable<CpuidRowJson>): CpuidTable {
    return new CpuidTable([...rows].map(rowFromJson));
  }
}

export const rowToJson = (row: CpuidRow): CpuidRowJson => ({
  leaf: hex32(row.leaf),
  subleaf: row.subleaf === null ? null : hex32(row.subleaf),
  eax: hex32(row.eax),
  ebx: hex32(row.ebx),
  ecx: hex32(row.ecx),
  edx: hex32(row.edx),
});

/** Throws `RangeError` on a value that is not 32-bit hex. */
export const rowFromJson = (row: CpuidRowJson): CpuidRow => ({
  leaf: parseHex32(row.leaf),
  subleaf: row.subleaf === null ? null : parseHex32(row.subleaf),
  eax: parseHex32(row.eax),
  ebx: parseHex32(row.ebx),
  ecx: parseHex32(row.ecx),
  edx: parseHex32(row.edx),
});

/** `7.0.EBX[9]`, `80000008.EBX[12]`, `1.ECX`: how messages write a CPUID field or bit. */
export function fieldName(field: CpuidField, bit?: number): string {
  const leaf = field.leaf.toString(16).toUpperCase();
  const subleaf = field.subleaf === null ? '' : `.${field.subleaf.toString(16).toUpperCase()}`;
  return `${leaf}${subleaf}.${field.register.toUpperCase()}${bit === undefined ? '' : `[${bit}]`}`;
}
