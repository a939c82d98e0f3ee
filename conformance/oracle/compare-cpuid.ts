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
  const unread = table.rows.filter(isUnreadIn(seen.cpuid));
  return [
    ...seen.cpuid.flatMap((row) => {
      const want = expectedAnswer(table, row.leaf, row.subleaf, context.answerer);
      if (REGISTERS.every((register) => want[register] === row[register])) return [];
      return REGISTERS.flatMap((register) => compareRegister(row, register, want, seen.index, context));
    }),
    ...dueOf(unread, table, expected.rowsBeyondMaximum, context.answerer).map((row) => say(notObserved(row))),
  ];
}

/** An answer proves the row of its own place, and a row without subleaf. */
function isUnreadIn(answers: readonly CpuidRow[]): (row: CpuidRow) => boolean {
  const asked = new Map<number, Set<number | null>>();
  for (const { leaf, subleaf } of answers) {
    const subleaves = asked.get(leaf) ?? new Set([null]);
    asked.set(leaf, subleaves.add(subleaf));
  }
  return ({ leaf, subleaf }) => !asked.get(leaf)?.has(subleaf);
}

/** Those of some rows that a guest of their table asks for: all, or where it may leave out what lies beyond a maximum, those within. */
function dueOf(
  rows: readonly CpuidRow[],
  table: CpuidTable,
  beyondMaximum: ExpectedVcpu['rowsBeyondMaximum'],
  answerer: CpuidAnswerer,
): readonly CpuidRow[] {
  if (rows.length === 0 || beyondMaximum === 'different') return rows;
  const isBeyond = isUnreadIn(sweepCpuid((leaf, subleaf) => expectedAnswer(table, leaf, subleaf, answerer)));
  return rows.filter((row) => !isBeyond(row));
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
