/** `qualify`: everything that a new machine type must show before its release. */

import type { Definitions } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';
import type { CellResult } from '../../corpora/verdict.js';
import { listModels, realModels } from '../../reference-vmm/cpu-model/resolve.js';
import { ResolvedPairs } from '../gate/resolved.js';
import type { Host } from '../hosts/host.js';
import type { NamedHost } from '../hosts/questions/named-host.js';
import type { Cell } from '../run/cell.js';
import type { ChecklistItem } from './checklist.js';
import { contractsItem, kernelsItem, namesItem } from './definition-items.js';
import { predecessorOf } from './predecessor.js';
import { predecessorItem } from './predecessor-item.js';
import { cellsOn, movesItem, runsItem } from './run-items.js';
import { type Qualification, qualificationOf } from './summary.js';

export interface QualifyRequest {
  readonly machine: string;
  readonly definitions: Definitions;
  readonly hosts: readonly Host[];
  /** Captures of the kernels that are supported. */
  readonly kernels: readonly NamedHost[];
  /** Which models; all where not given. */
  readonly wanted?: (model: string) => boolean;
  /** Runs cells to their verdicts. */
  readonly run: (cells: readonly Cell[]) => Promise<readonly CellResult[]>;
}

/** Throws `InputError`: an unknown machine type, or no model that is wanted. */
export async function qualify(request: QualifyRequest): Promise<Qualification> {
  const { definitions, hosts, wanted = () => true } = request;
  const machine = definitions.machine(request.machine).name;
  const all = listModels(machine, definitions).map(({ name }) => name);
  const models = all.filter(wanted);
  if (models.length === 0)
    throw new InputError('no-pairs', `${machine} has no model that --cpu names`, { given: machine });
  const subject = { machine, models, definitions, resolved: new ResolvedPairs() };
  const predecessor = predecessorOf(machine, definitions);
  const onDefinitions = [
    contractsItem(subject),
    predecessorItem(subject, predecessor),
    namesItem(subject),
    kernelsItem(subject, predecessor, request.kernels),
  ];
  // Names that stand for others show the same CPU: one of them is run.
  const real = realModels(machine, definitions).filter((name) => models.includes(name));
  const own = await request.run(cellsOn(machine, real, hosts, definitions));
  const before = predecessor === null ? [] : await request.run(predecessorMoves(predecessor, real, request));
  const items = [
    allModelsItem(models.length, all.length),
    ...onDefinitions,
    runsItem(real, hosts, own),
    movesItem(predecessor, own, before),
  ];
  return qualificationOf(
    { machine, predecessor, models, items, hosts: hosts.map(({ summary }) => summary) },
    definitions,
  );
}

/** A machine type is released with all of its models: a part of them signs off nothing. */
const allModelsItem = (asked: number, all: number): ChecklistItem => ({
  ...{ id: 'models', title: 'All models of the machine type were asked for' },
  ...{ outcome: asked === all ? 'passed' : 'open', evidence: [`${asked} of ${all} models`], problems: [] },
});

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
