/** What differs between two dumps, in both directions: CPU by CPU, bit by bit. */
import { type CpuidField, type CpuidRow, REGISTERS } from '../../corpora/cpuid.js';
import { expectedAnswer } from '../oracle/expected-cpuid.js';
import { diffNames, type NameDifference } from './diff-names.js';
import { type CpuDump, type DumpedCpu, type DumpedMsr, mapRegisters, pinnedBits } from './dump.js';

/** Where a bit stands: in a CPUID register, or in an MSR. */
export type BitPlace = CpuidField | { readonly msr: number };
/** The name of a feature by its bit, or null where the bit has none. */
export type NameOf = (place: BitPlace, bit: number) => string | null;

/** A side's bit; null where it is as the host has it. */
export type BitValue = 0 | 1 | null;

export interface BitDifference {
  readonly bit: number;
  readonly a: BitValue;
  readonly b: BitValue;
  readonly name: string | null;
}

/** What stands on one side only. */
interface OnlyIn {
  readonly cpu: number;
  readonly onlyIn: 'a' | 'b';
}

export type Difference =
  | ({ readonly kind: 'cpu' } & OnlyIn)
  /** A row; `features` are the names of its bits that are set. */
  | ({ readonly kind: 'row'; readonly row: CpuidRow; readonly features: readonly string[] } & OnlyIn)
  | {
      readonly kind: 'register';
      readonly cpu: number;
      readonly field: CpuidField;
      readonly a: number;
      readonly b: number;
      readonly bits: readonly BitDifference[];
    }
  | {
      readonly kind: 'msr';
      readonly cpu: number;
      readonly index: number;
      /** A value, a fault class, or null where there is no such MSR. */
      readonly a: bigint | string | null;
      readonly b: bigint | string | null;
      readonly bits: readonly BitDifference[];
    }
  | NameDifference;

export interface DumpDiff {
  readonly differences: readonly Difference[];
  /** Bits and names that both sides say something of. */
  readonly compared: number;
  /** Bits and names that one side leaves open: not compared. */
  readonly open: number;
}

/** Compares everything that both dumps say. No differences mean nothing where `compared` is 0. */
export function diffDumps(a: CpuDump, b: CpuDump, nameOf: NameOf): DumpDiff {
  const tally = new Tally(nameOf);
  const indices = new Set([...a.cpus, ...b.cpus].map(({ index }) => index));
  for (const cpu of [...indices].sort((x, y) => x - y)) {
    const [one, two] = [partOf(a, cpu), partOf(b, cpu)];
    if (one && two) compareCpus(one, two, tally);
    else if (a.cpus.length && b.cpus.length) tally.differs({ kind: 'cpu', cpu, onlyIn: one ? 'a' : 'b' });
    else tally.open += saidBits((one ?? two)!.cpu);
  }
  const names = diffNames(a.named, b.named);
  for (const difference of names.differences) tally.differs(difference);
  return { differences: tally.differences, compared: tally.compared + names.equal, open: tally.open + names.open };
}

class Tally {
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

/** A value and its pinned bits. */
interface Bits {
  readonly value: bigint;
  readonly mask: bigint;
}

const bitAt = ({ value, mask }: Bits, bit: number): BitValue =>
  (mask >> BigInt(bit)) & 1n ? (Number((value >> BigInt(bit)) & 1n) as 0 | 1) : null;

function bitsOf(bits: bigint): number[] {
  const found: number[] = [];
  for (let [rest, bit] = [bits, 0]; rest; rest >>= 1n, bit++) if (rest & 1n) found.push(bit);
  return found;
}

const countBits = (bits: bigint): number => bitsOf(bits).length;

interface Part {
  readonly cpu: DumpedCpu;
  readonly dump: CpuDump;
}

function partOf(dump: CpuDump, index: number): Part | undefined {
  const cpu = dump.cpus.find((one) => one.index === index);
  return cpu && { cpu, dump };
}

/** How many bits a CPU has pinned. */
const saidBits = (cpu: DumpedCpu): number =>
  cpu.cpuid.rows
    .flatMap((row) => REGISTERS.map((register) => countBits(BigInt(pinnedBits(cpu, row, register)))))
    .reduce((sum, n) => sum + n, 0) + cpu.msrs.reduce((sum, msr) => sum + ('mask' in msr ? countBits(msr.mask) : 1), 0);

function compareCpus(a: Part, b: Part, tally: Tally): void {
  const places = new Map([...b.cpu.cpuid, ...a.cpu.cpuid].map((row) => [`${row.leaf} ${row.subleaf}`, row]));
  for (const row of [...places.values()].sort((x, y) => x.leaf - y.leaf || (x.subleaf ?? -1) - (y.subleaf ?? -1)))
    compareRow(row, a, b, tally);
  const indices = new Set([...a.cpu.msrs, ...b.cpu.msrs].map(({ index }) => index));
  for (const index of [...indices].sort((x, y) => x - y)) compareMsr(index, a, b, tally);
}

/** A row with its pinned bits, or that there is none, or that nothing is said. */
type RowAnswer = { readonly row: CpuidRow; readonly mask: CpuidRow } | 'none' | 'open';

function compareRow(place: CpuidRow, a: Part, b: Part, tally: Tally): void {
  const [one, two] = [rowOf(a, place, b), rowOf(b, place, a)];
  if (one === 'none' || two === 'none') compareWithNone(one, two, a.cpu.index, tally);
  else if (one === 'open' || two === 'open') tally.open += saidIn(one) + saidIn(two);
  else {
    const closed = a.dump.absent.row === 'host' && b.dump.absent.row === 'host';
    for (const register of REGISTERS) {
      const field = { leaf: place.leaf, subleaf: place.subleaf, register };
      const bits = tally.bits(field, registerBits(one, register), registerBits(two, register), closed);
      if (bits.length)
        tally.differs({ kind: 'register', cpu: a.cpu.index, field, a: one.row[register], b: two.row[register], bits });
    }
  }
}

function compareWithNone(one: RowAnswer, two: RowAnswer, cpu: number, tally: Tally): void {
  const there = one === 'none' ? two : one;
  if (there === 'none' || there === 'open') return;
  const features = REGISTERS.flatMap((register) =>
    bitsOf(BigInt(there.row[register])).map((bit) =>
      tally.nameOf({ leaf: there.row.leaf, subleaf: there.row.subleaf, register }, bit),
    ),
  );
  tally.differs({
    kind: 'row',
    cpu,
    onlyIn: one === 'none' ? 'b' : 'a',
    row: there.row,
    features: features.filter((name) => name !== null),
  });
}

const registerBits = ({ row, mask }: Exclude<RowAnswer, string>, register: (typeof REGISTERS)[number]): Bits => ({
  value: BigInt(row[register]),
  mask: BigInt(mask[register]),
});

const saidIn = (answer: RowAnswer): number =>
  typeof answer === 'string'
    ? 0
    : REGISTERS.reduce((sum, register) => sum + countBits(BigInt(answer.mask[register])), 0);

/** What a side says at the place of a row that one of both has. */
function rowOf({ cpu, dump }: Part, { leaf, subleaf }: CpuidRow, other: Part): RowAnswer {
  const row = cpu.cpuid.get(leaf, subleaf);
  const zeros = { leaf, subleaf, eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const ones = mapRegisters(zeros, () => 0xffffffff);
  if (row) return { row, mask: mapRegisters(row, (_, register) => pinnedBits(cpu, row, register)) };
  switch (dump.absent.row) {
    case 'answered':
      // A list of features speaks of what is there, not of what reading an absent leaf gives.
      if (other.dump.absent.row === 'open' || other.dump.absent.row === 'host') return { row: zeros, mask: ones };
      return { row: { ...zeros, ...registersOf(expectedAnswer(cpu.cpuid, leaf, subleaf, 'kvm')) }, mask: ones };
    case 'zero':
      if ((leaf & 0x7fffffff) > 0xffff) return 'open';
      return { row: zeros, mask: ones };
    case 'host':
      return { row: zeros, mask: zeros };
    default:
      return dump.absent.row;
  }
}

const registersOf = ({
  eax,
  ebx,
  ecx,
  edx,
}: Omit<CpuidRow, 'leaf' | 'subleaf'>): Omit<CpuidRow, 'leaf' | 'subleaf'> => ({ eax, ebx, ecx, edx });

/** An MSR that does not exist faults, and nobody says how. */
type MsrAnswer = DumpedMsr | { readonly fault: null } | 'open';

function compareMsr(index: number, a: Part, b: Part, tally: Tally): void {
  const [one, two] = [msrOf(a, index), msrOf(b, index)];
  const cpu = a.cpu.index;
  if (one === 'open' || two === 'open') tally.open += saidOf(one === 'open' ? two : one);
  else if (mayFault(one) && mayFault(two) && 'mask' in one !== 'mask' in two) tally.open++;
  else if ('mask' in one && 'mask' in two) {
    const closed = a.dump.absent.msr === 'default' && b.dump.absent.msr === 'default';
    const bits = tally.bits({ msr: index }, one, two, closed);
    if (bits.length) tally.differs({ kind: 'msr', cpu, index, a: one.value, b: two.value, bits });
  } else if ('fault' in one && 'fault' in two && (one.fault === two.fault || one.fault === null || two.fault === null))
    tally.compared++;
  else tally.differs({ kind: 'msr', cpu, index, a: shown(one), b: shown(two), bits: [] });
}

/** An MSR whose value nobody fixes may as well fault. */
const mayFault = (msr: Exclude<MsrAnswer, 'open'>): boolean => 'fault' in msr || msr.mask === 0n;

const saidOf = (msr: MsrAnswer): number => (typeof msr === 'object' && 'mask' in msr ? countBits(msr.mask) : 1);

const shown = (msr: Exclude<MsrAnswer, 'open'>): bigint | string | null => ('fault' in msr ? msr.fault : msr.value);

function msrOf({ cpu, dump }: Part, index: number): MsrAnswer {
  const msr = cpu.msrs.find((one) => one.index === index);
  if (msr) return msr;
  return dump.absent.msr === 'none'
    ? { fault: null }
    : dump.absent.msr === 'default'
      ? { index, value: 0n, mask: 0n }
      : 'open';
}
