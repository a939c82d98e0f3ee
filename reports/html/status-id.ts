/** Which status of the page a cell has: its verdict, or what sets it apart from others of that verdict. */
import type { CellResult, Verdict } from '../../corpora/verdict.js';
import { isBreak, isRecorded } from '../result-log.js';

const BREAKS: readonly Verdict[] = ['changed', 'dropped', 'crashed', 'hung'];

export function statusId(cell: CellResult): string {
  const { verdict, forced } = cell;
  if (BREAKS.includes(verdict)) return verdict;
  if (isBreak(cell)) return 'unexpected';
  if (verdict === 'altered' && forced.length > 0) return 'altered-forced';
  if (verdict !== 'identical') return verdict;
  if (isRecorded(cell)) return 'recorded';
  return forced.length > 0 ? 'forced' : 'identical';
}
