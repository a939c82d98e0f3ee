/** Bits of two sides, compared and counted. */
import type { BitDifference, BitPlace, BitValue, Difference, NameOf } from './difference.js';
import type { CpuDump, DumpedCpu } from './dump.js';

/** One side: a CPU of a dump. */
export interface Part {
  readonly cpu: DumpedCpu;
  readonly dump: CpuDump;
}

/** A value and its pinned bits. */
export interface Bits {
  readonly value: bigint;
  readonly mask: bigint;
}

/** Collects differences, and counts what was compared and what was not. */
export class Tally {
  readonly differences: Difference[] = [];
  compared = 0;
  open = 0;
  readonly nameOf: NameOf;

  constructor(nameOf: NameOf) {
    this.nameOf = nameOf;
  }

  differs(difference: Difference): void {
    this.compared++;
    this.differences.push(difference);
  }

  /** The bits that differ; counts the others. `closed`: a bit that only one side pins differs too. */
  bits(place: BitPlace, a: Bits, b: Bits, closed: boolean): BitDifference[] {
    const common = a.mask & b.mask;
    const oneSided = a.mask ^ b.mask;
    const different = ((a.value ^ b.value) & common) | (closed ? oneSided : 0n);
    this.compared += countBits(common & ~different);
    if (!closed) this.open += countBits(oneSided);
    return bitsOf(different).map((bit) => ({ bit, a: bitAt(a, bit), b: bitAt(b, bit), name: this.nameOf(place, bit) }));
  }
}

const bitAt = ({ value, mask }: Bits, bit: number): BitValue =>
  (mask >> BigInt(bit)) & 1n ? (Number((value >> BigInt(bit)) & 1n) as 0 | 1) : null;

/** The numbers of the bits that are set, lowest first. */
export function bitsOf(bits: bigint): number[] {
  const found: number[] = [];
  for (let [rest, bit] = [bits, 0]; rest; rest >>= 1n, bit++) if (rest & 1n) found.push(bit);
  return found;
}

export const countBits = (bits: bigint): number => bitsOf(bits).length;
