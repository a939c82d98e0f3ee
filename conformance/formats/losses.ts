/** Says what a format cannot hold of a dump, so that nothing is dropped silently. */
import { type CpuidRow, isIndexedLeaf, REGISTERS } from '../../corpora/cpuid.js';
import { hexShort } from '../../corpora/hex.js';
import { rowName } from './cpu-collector.js';
import { type Absent, type CpuDump, type DumpedCpu, type DumpedMsr, isWhole, pinnedBits } from './dump.js';

/** What a format can hold. */
export interface Holds {
  readonly absent: Absent;
  readonly cpus: 'one' | 'many';
  readonly rows: boolean;
  readonly msrs: boolean;
  /** Tells no subleaf from subleaf 0. */
  readonly flags: boolean;
  /** Bits may be left open. */
  readonly openBits: boolean;
  readonly faults: boolean;
  readonly names: boolean;
  readonly facts: readonly string[];
}

const SHOWN = 6;

/** `1, 2, 3 and 4 more`. */
export const listed = (names: readonly string[]): string =>
  names.length <= SHOWN ? names.join(', ') : `${names.slice(0, SHOWN).join(', ')} and ${names.length - SHOWN} more`;

/** One sentence for each kind of thing that a format of this kind loses of a dump. */
export function lossesOf(dump: CpuDump, holds: Holds): string[] {
  const [first, ...more] = dump.cpus;
  const kept = holds.cpus === 'many' ? dump.cpus : first ? [first] : [];
  const losses: string[] = [];
  const say = (names: readonly string[], sentence: (list: string) => string): void => {
    if (names.length) losses.push(sentence(listed([...new Set(names)])));
  };
  if (holds.cpus === 'one') {
    say(
      more.map(({ index }) => `${index}`),
      (list) => `one CPU only: left out CPU ${list}`,
    );
    if (first && first.index !== 0) losses.push(`CPUs have no numbers: CPU ${first.index} reads back as CPU 0`);
  }
  if (!holds.rows)
    say(
      rowNames(kept, () => true),
      (list) => `no CPUID: left out ${list}`,
    );
  else if (!holds.openBits)
    say(
      rowNames(kept, (row, cpu) => !isWhole(cpu, row)),
      (list) => `no open bits: written as 0 in ${list}`,
    );
  if (holds.rows && !holds.flags) {
    const odd = rowNames(kept, (row) => row.subleaf === (isIndexedLeaf(row.leaf) ? null : 0));
    say(odd, (list) => `no difference between no subleaf and subleaf 0: ${list} read back otherwise`);
  }
  losses.push(
    ...msrLosses(
      kept.flatMap(({ msrs }) => msrs),
      holds,
    ),
  );
  if (!holds.names && dump.named) {
    const { model, features, offered } = dump.named;
    const parts = [
      model === null ? '' : `model ${model}`,
      counted(features, 'feature'),
      counted(offered, 'offered model'),
    ];
    losses.push(`no names: left out ${parts.filter(Boolean).join(', ')}`);
  }
  say(
    Object.keys(dump.facts).filter((key) => !holds.facts.includes(key)),
    (list) => `left out ${list}`,
  );
  if (holds.rows && kept.length && dump.absent.row !== holds.absent.row)
    losses.push(absentLoss(dump.absent.row, holds.absent.row));
  return losses;
}

const counted = (list: readonly unknown[], what: string): string =>
  list.length ? `${list.length} ${what}${list.length > 1 ? 's' : ''}` : '';

function msrLosses(msrs: readonly DumpedMsr[], holds: Holds): string[] {
  const names = (of: (msr: DumpedMsr) => boolean): string[] => msrs.filter(of).map(({ index }) => hexShort(index));
  if (!holds.msrs) return msrs.length ? [`no MSRs: left out ${listed(names(() => true))}`] : [];
  const faults = holds.faults ? [] : names((msr) => 'fault' in msr);
  const open = holds.openBits ? [] : names((msr) => 'mask' in msr && msr.mask !== 2n ** 64n - 1n);
  return [
    ...(faults.length ? [`no faults: left out MSR ${listed(faults)}`] : []),
    ...(open.length ? [`no open bits: written as 0 in MSR ${listed(open)}`] : []),
  ];
}

const MEANING = {
  answered: 'is answered by KVM',
  none: 'is not there',
  zero: 'is all zeros',
  zeroed: 'becomes all zeros',
  host: 'stays as the host has it',
  open: 'is open',
} as const;

const absentLoss = (from: Absent['row'], to: Absent['row']): string =>
  `a row that is not listed ${MEANING[to]} in this format; in the input it ${MEANING[from]}`;

const rowNames = (cpus: readonly DumpedCpu[], of: (row: CpuidRow, cpu: DumpedCpu) => boolean): string[] =>
  cpus.flatMap((cpu) => cpu.cpuid.rows.filter((row) => of(row, cpu)).map(rowName));

/** All rows, but subleaf 0 where a row without subleaf takes its place. */
export const placedRows = (cpu: DumpedCpu): CpuidRow[] =>
  cpu.cpuid.rows.filter((row) => row.subleaf !== 0 || cpu.cpuid.get(row.leaf, null) === undefined);

/** As `placedRows`, those with a pinned bit. */
export const distinctRows = (cpu: DumpedCpu): CpuidRow[] =>
  placedRows(cpu).filter((row) => REGISTERS.some((register) => pinnedBits(cpu, row, register) !== 0));

/** As `distinctRows`, for formats that have a number for every subleaf. */
export const numberedRows = (cpu: DumpedCpu): (CpuidRow & { readonly subleaf: number })[] =>
  distinctRows(cpu).map((row) => ({ ...row, subleaf: row.subleaf ?? 0 }));
