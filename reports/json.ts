/** The JSON report: what `verify --json` and `report --format json` print. */
import type { CellResult } from '../corpora/verdict.js';
import {
  type Conclusion,
  conclude,
  type HostSummary,
  type ResultLog,
  type Totals,
  totalsOf,
  without,
} from './result-log.js';

export interface VerifyJson {
  readonly schema: 'guest-abi/verify/1';
  readonly conclusion: Conclusion;
  readonly complete: boolean;
  readonly cells: readonly CellResult[];
  /** By host id. */
  readonly hostFacts: Readonly<Record<string, Omit<HostSummary, 'id'>>>;
  readonly totals: Totals;
}

export const jsonReport = (log: ResultLog, minIdentical?: number): VerifyJson => ({
  schema: 'guest-abi/verify/1',
  conclusion: conclude(log, minIdentical),
  complete: log.complete,
  cells: log.cells.map((cell) => without(cell, 'life')),
  hostFacts: Object.fromEntries(log.hosts.map(({ id, ...facts }) => [id, facts])),
  totals: totalsOf(log.cells),
});
