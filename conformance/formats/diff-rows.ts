/** What differs between the CPUID rows of two CPUs. */
import { type CpuidRow, REGISTERS } from '../../corpora/cpuid.js';
import { expectedAnswer } from '../oracle/expected-cpuid.js';
import { type Bits, bitsOf, countBits, type Part, type Tally } from './diff-tally.js';
import { mapRegisters, pinnedBits } from './dump.js';

/** A row with its pinned bits, or that there is none, or that nothing is said. */
type RowAnswer = { readonly row: CpuidRow; readonly mask: CpuidRow } | 'none' | 'open';

/** Compares one row that a side has. */
export function compareRow(place: CpuidRow, a: Part, b: Part, tally: Tally): void {
  const [one, two] = [rowOf(a, place, b), rowOf(b, place, a)];
  if (one === 'none' || two === 'none') compareWithNone(one, two, a.cpu.index, tally);
  else if (one === 'open' || two === 'open') tally.open += saidIn(one) + saidIn(two);
  else {
    const closed = isTemplate(a) && isTemplate(b);
    for (const register of REGISTERS) {
      const field = { leaf: place.leaf, subleaf: place.subleaf, register };
      const bits = tally.bits(field, registerBits(one, register), registerBits(two, register), closed);
      if (bits.length)
        tally.differs({ kind: 'register', cpu: a.cpu.index, field, a: one.row[register], b: two.row[register], bits });
    }
  }
}

/** Its open bits are the host's. */
const isTemplate = ({ dump: { absent } }: Part): boolean => absent.row === 'host' || absent.row === 'zeroed';

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
    case 'zeroed':
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
