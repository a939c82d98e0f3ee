/** The table of pairs x scenarios that the text report shows. */
import { type CellResult, VERDICTS, type Verdict } from '../corpora/verdict.js';
import { isRecorded } from './result-log.js';

/** Worst first: what a reader must see when cells of one place differ. */
const BY_WEIGHT: readonly Verdict[] = [
  'changed',
  'dropped',
  'crashed',
  'hung',
  'refused',
  'altered',
  'skipped',
  'identical',
];

export interface TableRow {
  /** `pc-i440fx-1.5/Nehalem`, with ` 8c4t2` behind it where not one vCPU. */
  readonly title: string;
  readonly cells: readonly (readonly CellResult[])[];
}

export interface VerdictTable {
  readonly columns: readonly string[];
  readonly rows: readonly TableRow[];
}

/** Rows are pairs (with shape and subject), columns scenarios; a move over hosts is a column of its own. */
export function verdictTable(cells: readonly CellResult[]): VerdictTable {
  const columns = [...new Set(cells.map(columnOf))];
  const rows = new Map<string, CellResult[]>();
  for (const cell of cells) rows.set(rowOf(cell), [...(rows.get(rowOf(cell)) ?? []), cell]);
  return {
    columns,
    rows: [...rows].map(([title, own]) => ({
      title,
      cells: columns.map((column) => own.filter((cell) => columnOf(cell) === column)),
    })),
  };
}

/** `identical`, or the worst verdict with how many of the cells have it: `refused 2/5`. */
export function summarize(cells: readonly CellResult[]): { verdict: Verdict | null; text: string } {
  if (cells.length === 0) return { verdict: null, text: '-' };
  const verdict = BY_WEIGHT.find((candidate) => cells.some((cell) => cell.verdict === candidate))!;
  const many = cells.filter((cell) => cell.verdict === verdict).length;
  const mark = `${cells.some((cell) => cell.forced.length > 0) ? '*' : ''}${cells.some(isRecorded) ? '~' : ''}`;
  return { verdict, text: `${verdict}${mark}${many === cells.length ? '' : ` ${many}/${cells.length}`}` };
}

const rowOf = (cell: CellResult): string =>
  [cell.pair, cell.smp === '1' ? '' : cell.smp, cell.subject === 'reference-vmm' ? '' : cell.subject]
    .filter(Boolean)
    .join(' ');

/** The scenario, or for a path over several hosts `6.12.107>5.10.0`. */
function columnOf(cell: CellResult): string {
  if (new Set(cell.hosts).size < 2) return cell.scenario;
  return `${cell.scenario === 'migrate' ? '' : `${cell.scenario} `}${cell.hosts.map(shortHost).join('>')}`;
}

const shortHost = (id: string): string => /^(?:lab:|recorded:.*\/)(\d+\.\d+)/.exec(id)?.[1] ?? id;

/** All verdicts that occur, in the order of `VERDICTS`. */
export const verdictsOf = (cells: readonly CellResult[]): Verdict[] =>
  VERDICTS.filter((verdict) => cells.some((cell) => cell.verdict === verdict));
