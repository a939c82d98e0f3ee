/** Items that guests show: the machine type on every host through every scenario, and moves of its predecessor's guests beside its own. */
import type { Definitions } from '../../corpora/definitions.js';
import { type CellResult, SCENARIOS, type Scenario } from '../../corpora/verdict.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { reasonLines } from '../../reports/reasons.js';
import { isBreak, isRecorded } from '../../reports/result-log.js';
import type { Host } from '../hosts/host.js';
import { type Cell, cellsOf } from '../run/cell.js';
import type { ChecklistItem } from './checklist.js';

/** Cells of one machine type. */
export function cellsOn(
  machine: string,
  models: readonly string[],
  hosts: readonly Host[],
  definitions: Definitions,
  scenarios: readonly Scenario[] = SCENARIOS,
): Cell[] {
  const pairs = models.map((cpu) => ({ identity: resolve({ machine, cpu, smp: '1', definitions }), smp: '1' }));
  return cellsOf(pairs, hosts, scenarios);
}

const nameOf = ({ pair, scenario, hosts }: CellResult): string => `${pair} ${scenario} on ${hosts.join(' > ')}`;

const breaks = (cells: readonly CellResult[]): string[] =>
  cells.filter(isBreak).map((cell) => `${nameOf(cell)}: ${cell.verdict}: ${reasonLines(cell.reasons)[0] ?? ''}`);

/** Identical on a real kernel, with nothing forced. */
const isShown = (cell: CellResult): boolean =>
  cell.verdict === 'identical' && !isRecorded(cell) && cell.forced.length === 0;

const counts = (cells: readonly CellResult[]): string => {
  const real = cells.filter((cell) => !isRecorded(cell));
  const many = (verdict: string): number => real.filter((cell) => cell.verdict === verdict).length;
  const recorded = cells.length - real.length;
  return (
    `${many('identical')} cells identical, ${many('refused')} refused as predicted, of ${real.length} on real kernels` +
    (recorded > 0 ? `; ${recorded} on recorded hosts, which prove nothing` : '')
  );
};

const FEW = 8;
const named = (names: readonly string[]): string =>
  `${names.slice(0, FEW).join(' ')}${names.length > FEW ? ` and ${names.length - FEW} more` : ''}`;

/** Passes where nothing broke and every model ran identically on every host that can run it, and on at least one. */
export function runsItem(
  models: readonly string[],
  hosts: readonly Host[],
  cells: readonly CellResult[],
): ChecklistItem {
  const problems = breaks(cells);
  const unshown = models.filter((model) => !cells.some((cell) => cell.pair.endsWith(`/${model}`) && isShown(cell)));
  const unplayed = SCENARIOS.filter((scenario) => !cells.some((cell) => cell.scenario === scenario && isShown(cell)));
  const gaps = [
    ...(hosts.length === 0 ? ['no host was given: --host'] : []),
    ...(unshown.length > 0
      ? [`no given host runs ${unshown.length} of ${models.length} models: ${named(unshown)}`]
      : []),
    ...(hosts.length > 0 && unplayed.length > 0 ? [`no guest went identically through: ${unplayed.join(', ')}`] : []),
  ];
  return {
    ...{ id: 'runs', title: 'Guests of every model see their contract on every host, in every scenario' },
    outcome: problems.length > 0 ? 'failed' : gaps.length > 0 ? 'open' : 'passed',
    evidence: [
      `hosts: ${hosts.map(({ summary }) => `${summary.id} (${summary.kernel})`).join(', ') || 'none'}`,
      counts(cells),
    ],
    problems: [...problems, ...gaps],
  };
}

/** Passes where, over every ordered pair of hosts where the predecessor's guests move, those of the new machine type do too. */
export function movesItem(
  predecessor: string | null,
  own: readonly CellResult[],
  before: readonly CellResult[],
): ChecklistItem {
  const title = `Guests move to and from the hosts of ${predecessor ?? 'the predecessor'}`;
  if (predecessor === null)
    return { id: 'predecessor-moves', title, outcome: 'passed', evidence: ['it has no predecessor'], problems: [] };
  const moves = (cells: readonly CellResult[]): CellResult[] => cells.filter(({ scenario }) => scenario === 'migrate');
  const key = ({ pair, hosts }: CellResult): string => `${pair.slice(pair.indexOf('/'))} ${hosts.join(' > ')}`;
  const shown = new Set(moves(own).filter(isShown).map(key));
  const old = moves(before).filter(isShown);
  const lost = old
    .filter((cell) => !shown.has(key(cell)))
    .map((cell) => `${nameOf(cell)} is identical, and with the new machine type not`);
  const problems = [...breaks(moves(before)), ...lost];
  const paths = new Set(old.filter(({ hosts }) => new Set(hosts).size > 1).map(({ hosts }) => hosts.join(' > ')));
  const gap = paths.size === 0 ? ['no guest of the predecessor moved between two hosts: give two hosts or more'] : [];
  return {
    ...{ id: 'predecessor-moves', title },
    outcome: problems.length > 0 ? 'failed' : gap.length > 0 ? 'open' : 'passed',
    evidence: [
      `${old.length} moves of ${predecessor}'s guests are identical, ${paths.size} paths between hosts, and so are these`,
      ...paths,
    ],
    problems: [...problems, ...gap],
  };
}
