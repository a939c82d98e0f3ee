/** `qualify`: everything that a new machine type must show before its release. */

import { CONTRACT_SHAPES, contractOf } from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';
import type { CellResult } from '../../corpora/verdict.js';
import { listModels } from '../../reference-vmm/cpu-model/resolve.js';
import { cellKey } from '../../reports/result-log.js';
import { ResolvedPairs } from '../gate/resolved.js';
import type { Host } from '../hosts/host.js';
import type { NamedHost } from '../hosts/questions/named-host.js';
import { type Cell, keyOf } from '../run/cell.js';
import type { ChecklistItem } from './checklist.js';
import { contractsItem, distinctModels, kernelsItem, namesItem } from './definition-items.js';
import { predecessorOf } from './predecessor.js';
import { predecessorItem } from './predecessor-item.js';
import { cellsOn, movesItem, type NamedGlob, named, runsItem } from './run-items.js';
import { type Qualification, qualificationOf } from './summary.js';

export interface QualifyRequest {
  readonly machine: string;
  readonly definitions: Definitions;
  readonly hosts: readonly Host[];
  /** Captures of the kernels that are supported. */
  readonly kernels: readonly NamedHost[];
  /** Which models; all that are promised where not given. */
  readonly wanted?: (model: string) => boolean;
  /** Models that need not be seen running: none of the given hosts can. */
  readonly notRun?: readonly NamedGlob[];
  /** Runs cells to their verdicts; fewer where it was interrupted. */
  readonly run: (cells: readonly Cell[]) => Promise<readonly CellResult[]>;
}

/** Throws `InputError`: an unknown machine type, or no model that is wanted. */
export async function qualify(request: QualifyRequest): Promise<Qualification> {
  const { definitions, hosts } = request;
  const machine = definitions.machine(request.machine).name;
  const all = listModels(machine, definitions).map(({ name }) => name);
  const promised = promisedOf(machine, all, definitions);
  const models = request.wanted ? all.filter(request.wanted) : promised;
  if (models.length === 0)
    throw new InputError('no-pairs', `${machine} has no model that --cpu names`, { given: machine });
  const subject = { machine, models, definitions, resolved: new ResolvedPairs() };
  const predecessor = predecessorOf(machine, definitions);
  const onDefinitions = [
    contractsItem(subject, predecessor),
    predecessorItem(subject, predecessor),
    namesItem(subject),
    kernelsItem(subject, predecessor, request.kernels),
  ];
  const real = distinctModels(subject);
  const cells = cellsOn(machine, real, hosts, definitions);
  const moves = predecessor === null ? [] : predecessorMoves(predecessor, real, request);
  const results = new Map((await request.run([...cells, ...moves])).map((result) => [cellKey(result), result]));
  const resultsOf = (asked: readonly Cell[]): CellResult[] =>
    asked.flatMap((cell) => results.get(cellKey(keyOf(cell))) ?? []);
  const own = { asked: cells.length, results: resultsOf(cells) };
  const items = [
    allModelsItem(models, promised, all),
    ...onDefinitions,
    runsItem({ models: real, names: models.length }, hosts, own, request.notRun),
    movesItem(predecessor, own.results, { asked: moves.length, results: resultsOf(moves) }),
  ];
  return qualificationOf(
    { machine, predecessor, models, items, hosts: hosts.map(({ summary }) => summary) },
    definitions,
  );
}

/** What is frozen is promised; before anything is, all of it. */
function promisedOf(machine: string, all: readonly string[], definitions: Definitions): readonly string[] {
  const frozen = all.filter((name) => contractOf(`${machine}/${name}`, CONTRACT_SHAPES[0], definitions));
  return frozen.length > 0 ? frozen : all;
}

/** A machine type is released with all that it promises: a part of it signs off nothing. */
function allModelsItem(asked: readonly string[], promised: readonly string[], all: readonly string[]): ChecklistItem {
  const left = promised.filter((name) => !asked.includes(name));
  const others = all.length - promised.length;
  const evidence = [
    `${asked.length} of ${promised.length} models`,
    ...(others > 0 ? [`${others} others are not frozen, so not promised: nothing is said of them`] : []),
  ];
  const problems = left.length > 0 ? [`not asked for: ${named(left)}`] : [];
  return {
    ...{ id: 'models', title: 'All models that the machine type promises were asked for' },
    ...{ outcome: left.length > 0 ? 'open' : 'passed', evidence, problems },
  };
}

/** Moves of the predecessor's guests of the same models. */
function predecessorMoves(
  predecessor: string,
  models: readonly string[],
  { definitions, hosts }: QualifyRequest,
): Cell[] {
  const known = new Set(listModels(predecessor, definitions).map(({ name }) => name));
  const common = models.filter((name) => known.has(name));
  return cellsOn(predecessor, common, hosts, definitions, ['migrate']);
}
