/** CPUID of a dump against the table that the guest must see: every answer, and every row. */
import { type CpuidRow, type CpuidTable, fieldName, REGISTERS, type Register } from '../../corpora/cpuid.js';
import { hex32 } from '../../corpora/hex.js';
import type { VcpuObservation } from '../../corpora/observation.js';
import type { Reason } from '../../corpora/verdict.js';
import { volatileBits } from '../../corpora/volatility/volatility.js';
import type { CompareContext, DifferenceFacts, ExpectedVcpu, Say } from './context.js';
import { withDerivedBits } from './derived-bits.js';
import { type CpuidAnswer, expectedAnswer, rangeBase } from './expected-cpuid.js';

/** All differences of the CPUID answers, derived bits recomputed for the dump's state. */
export function compareCpuid(
  expected: ExpectedVcpu,
  seen: VcpuObservation,
  context: CompareContext,
  say: Say,
): Reason[] {
  const table = withDerivedBits(expected.cpuid, seen, context.volatility);
  const asked = new Set(seen.cpuid.flatMap(placesAnsweredBy));
  return [
    ...seen.cpuid.flatMap((row) => {
      const want = expectedAnswer(table, row.leaf, row.subleaf, context.answerer);
      return REGISTERS.flatMap((register) => compareRegister(row, register, want, context, say));
    }),
    ...table.rows
      .filter(
        (row) =>
          !asked.has(place(row)) && !(expected.rowsBeyondMaximum === 'not-compared' && isBeyond(table, row, context)),
      )
      .map((row) => say(notObserved(row))),
  ];
}

const place = ({ leaf, subleaf }: Pick<CpuidRow, 'leaf' | 'subleaf'>): string => `${leaf}.${subleaf}`;

/** An answer proves the row of its own place, and a row without subleaf. */
const placesAnsweredBy = (row: CpuidRow): string[] => [place(row), place({ ...row, subleaf: null })];

const isBeyond = (table: CpuidTable, { leaf }: CpuidRow, { answerer }: CompareContext): boolean =>
  leaf > table.value(rangeBase(leaf, answerer), null, 'eax');

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

/** One reason for each differing bit that has a name, and one for all others of the register together. */
function compareRegister(
  row: CpuidRow,
  register: Register,
  want: CpuidAnswer,
  { volatility, nameOf }: CompareContext,
  say: Say,
): Reason[] {
  if (want[register] === row[register]) return [];
  const field = { ...row, register };
  const differing = (want[register] ^ row[register]) & ~volatileBits(volatility, 'host', field);
  if (differing === 0) return [];
  const bits = Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => (differing >>> bit) & 1);
  const named = bits.flatMap((bit) => {
    const feature = nameOf(field, bit);
    return feature === null ? [] : [{ bit, feature }];
  });
  const facts = { code: 'cpuid-changed', ...placeFacts(row), register };
  const reasons = named.map(({ bit, feature }) => {
    const [contract, guest] = [want, row].map((answer) => (answer[register] >>> bit) & 1);
    const message = `CPUID ${fieldName(field, bit)} (${feature}): contract ${contract}, guest ${guest}`;
    return say({ ...facts, bit, feature, contract: `0x${contract}`, guest: `0x${guest}`, message });
  });
  if (named.length === bits.length) return reasons;
  const rest = bits.filter((bit) => !named.some((one) => one.bit === bit));
  const [contract, guest] = [hex32(want[register]), hex32(row[register])];
  const bit = rest.length === 1 ? rest[0]! : null;
  const message = `CPUID ${fieldName(field, bit ?? undefined)}: contract ${contract}, guest ${guest}`;
  return [...reasons, say({ ...facts, bit, contract, guest, message })];
}
