/** Two QEMU binaries: what guests of every common pair see under the one and under the other. */
import { namedMsrs } from '../../corpora/msrs.js';
import { parsePair } from '../../corpora/pair.js';
import type { CellResult } from '../../corpora/verdict.js';
import type { QemuLauncher } from '../packages/qemu-trees.js';
import { commonPairs, compareQemus, msrsLeftOut, subjectName } from '../subjects/qemu/comparison.js';
import type { QemuPair } from '../subjects/qemu/tables.js';
import type { PairFilter } from './compare-definitions.js';
import { effectsOf } from './effects.js';
import { qemuFix } from './qemu-fix.js';
import { type GateFinding, type GateResult, RELEASED_PAIRS } from './result.js';

export interface QemuGateOptions {
  readonly wanted: PairFilter;
  readonly workers?: number;
  /** After each pair: how many are done, of how many. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Cells that were compared before, and where new ones go as they come. */
  readonly log?: { readonly done: readonly CellResult[]; cell(result: CellResult): unknown };
}

/** Each pair is booted twice, features that the accelerator lacks forced: properties alone miss real breaks. */
export async function gateQemus(base: QemuLauncher, head: QemuLauncher, options: QemuGateOptions): Promise<GateResult> {
  const common = await commonPairs(base, head);
  const wanted = ({ machine, cpu }: QemuPair): boolean => options.wanted({ machine, model: cpu });
  const pairs = common.pairs.filter(wanted);
  const added = common.added.filter(wanted);
  const machines = [...new Set(common.pairs.map(({ machine }) => machine))];
  const chosen = new Set(pairs.map(nameOf));
  const cells: CellResult[] = (options.log?.done ?? []).filter(({ pair }) => chosen.has(pair));
  const done = new Set(cells.map(({ pair }) => pair));
  const waiting = pairs.filter((pair) => !done.has(nameOf(pair)));
  const started = performance.now();
  for await (const cell of compareQemus(base, head, waiting, options.workers ? { workers: options.workers } : {})) {
    cells.push(cell);
    options.log?.cell(cell);
    options.onProgress?.(cells.length, pairs.length);
  }
  const seconds = (performance.now() - started) / 1000;
  return {
    ...{ base: `${subjectName(base)} (${base.version})`, head: `${subjectName(head)} (${head.version})` },
    ...{
      subject: RELEASED_PAIRS,
      findings: findingsOf(cells, `QEMU ${base.version} -> ${head.version}`),
      held: heldModels(cells),
    },
    totals: {
      unchanged: cells.filter(({ verdict }) => verdict === 'identical').length,
      broken: cells.filter(isBroken).length,
      added: added.length,
    },
    added: namesOf(added, machines),
    removed: namesOf(common.gone.filter(wanted), machines),
    notes: [
      ...msrNote(pairs, base),
      ...skippedNote(cells, chosen.size),
      ...(done.size > 0 ? [`${done.size} pairs were in the log`] : []),
      ...(waiting.length === 0 ? [] : [rateNote(cells.slice(done.size).filter(isCompared).length, seconds)]),
    ],
  };
}

const nameOf = ({ machine, cpu }: QemuPair): string => `${machine}/${cpu}`;

const rateNote = (pairs: number, seconds: number): string =>
  `${pairs} pairs booted under both in ${seconds.toFixed(1)} s: ${(pairs / seconds).toFixed(1)} pairs a second`;

const isCompared = ({ verdict }: CellResult): boolean => verdict === 'identical' || verdict === 'changed';

export const isBroken = ({ verdict }: Pick<GatedPair, 'verdict'>): boolean =>
  verdict !== 'identical' && verdict !== 'skipped';

/** Pairs that only one side has, by what the other has not: the machine type, or on one of `machines`, which both have, the model. */
export function namesOf(pairs: readonly QemuPair[], machines: readonly string[]): GateResult['removed'] {
  const counts = new Map<string, number>();
  for (const { machine, cpu } of pairs) {
    const what = machines.includes(machine) ? `model ${cpu}` : `machine type ${machine}`;
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  return [...counts].map(([what, pairs]) => ({ what, pairs }));
}

/** How many MSRs were read and say nothing of the pair's CPU. */
function msrNote(pairs: readonly QemuPair[], base: QemuLauncher): string[] {
  const counts = pairs.map((pair) => msrsLeftOut(pair, base));
  if (counts.length === 0) return [];
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  return [
    `MSRs: ${namedMsrs().length} were read in each guest; ${least === most ? most : `${least} to ${most}`} of them are not of the pair's CPU, or written by firmware, and were not compared`,
  ];
}

function skippedNote(cells: readonly CellResult[], pairs: number): string[] {
  const skipped = cells.filter(({ verdict }) => verdict === 'skipped');
  if (skipped.length === 0) return [];
  return [
    `${skipped.length} of ${pairs} pairs were not compared: the base gives no such guest (${skipped[0]!.reasons[0]?.message})`,
  ];
}

/** What a gate needs of a result. */
export type GatedPair = Pick<CellResult, 'pair' | 'verdict' | 'reasons'>;

/** Pairs that changed in the same way become one finding. */
export function findingsOf(cells: readonly GatedPair[], text: string): GateFinding[] {
  const groups = new Map<string, GatedPair[]>();
  for (const cell of cells.filter(isBroken)) {
    const key = JSON.stringify([cell.verdict, cell.reasons.map(({ message }) => message)]);
    groups.set(key, [...(groups.get(key) ?? []), cell]);
  }
  return [...groups.values()].map((group): GateFinding => {
    const [{ verdict, reasons }] = group as [GatedPair];
    const pairs = group.map(({ pair }) => pair);
    const models = [...new Set(pairs.map((pair) => parsePair(pair).cpu.model))].sort();
    const machines = [...new Set(pairs.map((pair) => parsePair(pair).machine))];
    return {
      ...{ kind: verdict === 'changed' ? 'changed' : 'removed', pairs, models, machines, reasons },
      causes: [{ file: null, line: null, property: null, before: undefined, after: undefined, text }],
      effects:
        verdict === 'changed'
          ? effectsOf(reasons)
          : [verdict === 'refused' ? 'guests of it cannot be started any more' : 'it was not seen under both QEMUs'],
      fix: qemuFix(models, machines, reasons),
    };
  });
}

export function heldModels(cells: readonly GatedPair[]): { model: string; pairs: number }[] {
  const counts = new Map<string, { held: number; broken: number }>();
  for (const cell of cells) {
    const { model } = parsePair(cell.pair).cpu;
    const count = counts.get(model) ?? { held: 0, broken: 0 };
    counts.set(model, count);
    if (cell.verdict === 'identical') count.held++;
    if (isBroken(cell)) count.broken++;
  }
  return [...counts]
    .filter(([, { held, broken }]) => held > 0 && broken === 0)
    .map(([model, { held }]) => ({ model, pairs: held }));
}
