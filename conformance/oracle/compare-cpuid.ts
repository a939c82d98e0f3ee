/** CPUID of a dump against the table that the guest must see: every answer, and every row. */
import { type CpuidRow, type CpuidTable, fieldName, REGISTERS, type Register } from '../../corpora/cpuid.js';
import { hex32 } from '../../corpora/hex.js';
import type { VcpuObservation } from '../../corpora/observation.js';
import type { Reason } from '../../corpora/verdict.js';
import { volatileBits } from '../../corpora/volatility/volatility.js';
import { sweepCpuid } from '../../guest-probes/sweep.js';
import { registerReasons } from '../../reference-vmm/cpu-model/differences.js';
import type { CompareContext, DifferenceFacts, ExpectedVcpu, Say } from './context.js';
import { withDerivedBits } from './derived-bits.js';
import { type CpuidAnswer, type CpuidAnswerer, expectedAnswer } from './expected-cpuid.js';

/** All differences of the CPUID answers, derived bits recomputed for the dump's state. */
export function compareCpuid(
  expected: ExpectedVcpu,
  seen: VcpuObservation,
  context: CompareContext,
  say: Say,
): Reason[] {
  const table = withDerivedBits(expected.cpuid, seen, context.volatility, context.answerer);
  const asked = new Set(seen.cpuid.flatMap(placesAnsweredBy));
  const due = expected.rowsBeyondMaximum === 'different' ? () => true : heededBy(table, context.answerer);
  return [
    ...seen.cpuid.flatMap((row) => {
      const want = expectedAnswer(table, row.leaf, row.subleaf, context.answerer);
      return REGISTERS.flatMap((register) => compareRegister(row, register, want, seen.index, context));
    }),
    ...table.rows.filter((row) => !asked.has(place(row)) && due(row)).map((row) => say(notObserved(row))),
  ];
}

const place = ({ leaf, subleaf }: Pick<CpuidRow, 'leaf' | 'subleaf'>): string => `${leaf}.${subleaf}`;

/** An answer proves the row of its own place, and a row without subleaf. */
const placesAnsweredBy = (row: CpuidRow): string[] => [place(row), place({ ...row, subleaf: null })];

/** The rows of a table that its guest asks for when it heeds every maximum, of leaves and of subleaves. */
function heededBy(table: CpuidTable, answerer: CpuidAnswerer): (row: CpuidRow) => boolean {
  const sweep = sweepCpuid((leaf, subleaf) => expectedAnswer(table, leaf, subleaf, answerer));
  const places = new Set(sweep.flatMap(placesAnsweredBy));
  return (row) => places.has(place(row));
}

function notObserved(row: CpuidRow): DifferenceFacts {
  const name = fieldName({ ...row, register: 'eax' }).replace(/\.EAX$/, '');
  return {
    code: 'cpuid-not-observed',
    ...placeFacts(row),
    message: `CPUID ${name} stands in the contract and the guest never read it`,
  };
}

const placeFacts = (row: Pick<CpuidRow, 'leaf' | 'subleaf'>): Pick<Reason, 'leaf' | 'subleaf'> => ({
  leaf: hex32(row.leaf),
  subleaf: row.subleaf === null ? null : hex32(row.subleaf),
});

function compareRegister(
  row: CpuidRow,
  register: Register,
  want: CpuidAnswer,
  vcpu: number,
  { volatility, nameOf, step }: CompareContext,
): Reason[] {
  if (want[register] === row[register]) return [];
  const { leaf, subleaf } = row;
  const differing = (want[register] ^ row[register]) & ~volatileBits(volatility, 'host', { leaf, subleaf, register });
  if (differing === 0) return [];
  const difference = { leaf, subleaf, register, wanted: want[register], got: row[register] };
  return registerReasons(difference, differing, { step, vcpu, nameOf }, CHANGED);
}

/** What a guest sees does not tell which layer made it so. */
const CHANGED = { code: 'cpuid-changed', layer: null, verb: 'guest' } as const;
