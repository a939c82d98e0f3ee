/** Which subleaf a row is that AIDA64 did not number: older versions list a leaf's subleaves in order, without those of leaf D that are all zeros. */
import { type CpuidRow, isIndexedLeaf, type Register } from '../../corpora/cpuid.js';

type Registers = Readonly<Record<Register, number>>;

/**
 * `known`: the row that the leaf has at a subleaf already. Null where the leaf has no subleaves, undefined where it cannot be told.
 */
export function unnumberedSubleaf(
  leaf: number,
  row: Registers,
  known: (subleaf: number) => CpuidRow | undefined,
): number | null | undefined {
  if (leaf === 0xd) return xsaveSubleaf(row, known);
  if (!isIndexedLeaf(leaf)) return null;
  let subleaf = 0;
  while (known(subleaf)) subleaf++;
  return subleaf;
}

/**
 * Leaf D: the total, then perhaps its flags, then the size and offset of each component that exists, in the order of its bit (SDM volume 1,
 * 13.2). Flags have bit 0 (XSAVEOPT) or none; every size is a multiple of 8.
 */
function xsaveSubleaf(row: Registers, known: (subleaf: number) => CpuidRow | undefined): number | undefined {
  const [total, flags] = [known(0), known(1)];
  if (!total) return 0;
  const components = [...componentsOf(total.eax, total.edx), ...componentsOf(flags?.ecx ?? 0, flags?.edx ?? 0)];
  const [next, second] = [components.sort((a, b) => a - b).find((bit) => !known(bit)), components[0]];
  const untouched = !flags && (second === undefined || !known(second));
  if (untouched && (row.eax === 0 || row.eax % 8 !== 0)) return 1;
  return row.eax % 8 === 0 && row.eax !== 0 ? next : undefined;
}

/** The bits of XCR0 or IA32_XSS from 2 on: x87 and SSE have no row of their own. */
const componentsOf = (low: number, high: number): number[] =>
  Array.from({ length: 62 }, (_, i) => i + 2).filter((bit) => ((bit < 32 ? low : high) >>> (bit % 32)) & 1);
