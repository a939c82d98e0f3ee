/** Items that guests show: the machine type on every host through every scenario, and moves of its predecessor's guests beside its own. */
import { CONTRACT_SHAPES } from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import { parsePair } from '../../corpora/pair.js';
import { parseSmp } from '../../corpora/smp.js';
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
  const pairs = models.flatMap((cpu) =>
    CONTRACT_SHAPES.map((smp) => ({ identity: resolve({ machine, cpu, smp: parseSmp(smp), definitions }), smp })),
  );
  return cellsOf(pairs, hosts, scenarios);
}

/** What was to be run, and what came of it: less where the run was interrupted. */
export interface RanCells {
  readonly asked: number;
  readonly results: readonly CellResult[];
}

/** A glob over models, as it was given. */
export interface NamedGlob {
  readonly glob: string;
  readonly matches: (model: string) => boolean;
}

const nameOf = ({ pair, smp, scenario, hosts }: CellResult): string =>
  `${pair} (smp ${smp}) ${scenario} on ${hosts.join(' > ')}`;

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
export const named = (names: readonly string[]): string =>
  `${names.slice(0, FEW).join(' ')}${names.length > FEW ? ` and ${names.length - FEW} more` : ''}`;

/** One model for each CPU, of so many names. */
export interface RunModels {
  readonly models: readonly string[];
  readonly names: number;
}

/**
 * Passes where nothing broke and every model ran identically, in every shape, on every host that can run it, and on at least one. One that none can
 * run keeps it open, unless `notRun` names it: then the evidence does.
 */
export function runsItem(
  { models, names }: RunModels,
  hosts: readonly Host[],
  { asked, results }: RanCells,
  notRun: readonly NamedGlob[] = [],
): ChecklistItem {
  const shown = results.filter(isShown);
  const ran = new Set(shown.map(({ pair, smp }) => `${parsePair(pair).cpu.model} ${smp}`));
  const unshown = models.flatMap((model) =>
    CONTRACT_SHAPES.filter((smp) => !ran.has(`${model} ${smp}`)).map((smp) => ({ model, smp })),
  );
  const isAccepted = (model: string): boolean => notRun.some(({ matches }) => matches(model));
  const [accepted, missing] = [true, false].map((is) => unshown.filter(({ model }) => isAccepted(model) === is));
  const skipped = results.filter(({ verdict }) => verdict === 'skipped');
  const idle = hosts.filter(({ summary }) => !shown.some((cell) => cell.hosts.includes(summary.id)));
  const unplayed = CONTRACT_SHAPES.flatMap((smp) =>
    SCENARIOS.filter((scenario) => !shown.some((cell) => cell.scenario === scenario && cell.smp === smp)).map(
      (scenario) => `${scenario} (smp ${smp})`,
    ),
  );
  const useless = notRun.filter(({ matches }) => !unshown.some(({ model }) => matches(model)));
  const problems = breaks(results);
  const gaps = [
    ...(hosts.length === 0 ? ['no host was given: --host'] : []),
    ...(asked > results.length
      ? [`${asked - results.length} of ${asked} cells were not run: --resume LOG goes on`]
      : []),
    ...(missing!.length > 0 ? [`not seen running on any given host: ${named(missing!.map(shapeName))}`] : []),
    ...(skipped.length > 0 ? [`${skipped.length} cells were skipped: ${reasonLines(skipped[0]!.reasons)[0]}`] : []),
    ...(idle.length > 0 ? [`no guest ran on ${named(idle.map(({ summary }) => summary.id))}`] : []),
    ...(hosts.length > 0 && unplayed.length > 0 ? [`no guest went identically through: ${unplayed.join(', ')}`] : []),
    ...useless.map(({ glob }) => `--accept-not-run ${glob} names no model that was not seen running`),
  ];
  return {
    ...{ id: 'runs', title: 'Guests of every model see their contract on every host, in every scenario' },
    outcome: problems.length > 0 ? 'failed' : gaps.length > 0 ? 'open' : 'passed',
    evidence: [
      `hosts: ${hosts.map(({ summary }) => `${summary.id} (${summary.kernel})`).join(', ') || 'none'}`,
      counts(results),
      ...(names > models.length ? [`${models.length} CPUs of ${names} names: the others stand for one of them`] : []),
      ...(accepted!.length > 0
        ? [`NOT SEEN RUNNING, and accepted so: ${accepted!.map(shapeName).join(' ')}; frozen and resolved only`]
        : []),
    ],
    problems: [...problems, ...gaps],
  };
}

const shapeName = ({ model, smp }: { readonly model: string; readonly smp: string }): string => `${model} (smp ${smp})`;

/** Passes where, over every ordered pair of hosts where the predecessor's guests move, those of the new machine type do too. */
export function movesItem(
  predecessor: string | null,
  own: readonly CellResult[],
  { asked, results: before }: RanCells,
): ChecklistItem {
  const title = `Guests move to and from the hosts of ${predecessor ?? 'the predecessor'}`;
  if (predecessor === null)
    return { id: 'predecessor-moves', title, outcome: 'passed', evidence: ['it has no predecessor'], problems: [] };
  const moves = (cells: readonly CellResult[]): CellResult[] => cells.filter(({ scenario }) => scenario === 'migrate');
  const key = ({ pair, smp, hosts }: CellResult): string =>
    `${pair.slice(pair.indexOf('/'))} ${smp} ${hosts.join(' > ')}`;
  const shown = new Set(moves(own).filter(isShown).map(key));
  const old = moves(before).filter(isShown);
  const lost = old
    .filter((cell) => !shown.has(key(cell)))
    .map((cell) => `${nameOf(cell)} is identical, and with the new machine type not`);
  const problems = [...breaks(moves(before)), ...lost];
  const paths = new Set(old.filter(({ hosts }) => new Set(hosts).size > 1).map(({ hosts }) => hosts.join(' > ')));
  const gap = [
    ...(paths.size === 0 ? ['no guest of the predecessor moved between two hosts: give two hosts or more'] : []),
    ...(asked > before.length ? [`${asked - before.length} of ${asked} moves were not run: --resume LOG goes on`] : []),
  ];
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
