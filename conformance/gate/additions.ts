/** What an edit adds: new machine types, models and versions, which break nothing. */
import { contractOf } from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import type { DefinitionsComparison } from './compare-definitions.js';
import { type PairName, ResolvedPair, type ResolvedPairs } from './resolved.js';
import type { GateFinding, GateResult } from './result.js';

/** New pairs by what makes them new. */
export function additionsOf(added: readonly PairName[], base: Definitions): GateResult['added'] {
  const counts = new Map<string, number>();
  for (const pair of added) {
    const what = newPart(pair, base);
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  return [...counts].map(([what, pairs]) => ({ what, pairs }));
}

function newPart({ machine, model }: PairName, base: Definitions): string {
  if (!base.machineIndex.machines.includes(machine)) return `machine type ${machine}`;
  const { models, aliases } = base.modelIndex;
  const [, name = model, version] = models[model] ? [] : (/^(.*)-v(\d+)$/.exec(model) ?? []);
  if (!models[name] && !aliases[model]) return `model ${model}`;
  const known = models[name] ? base.model(name).versions : [];
  if (version !== undefined && !known.some((one) => one.version === Number(version))) return `version ${model}`;
  return `${machine}, not frozen yet`;
}

const FEW = 3;

/** Pairs without a contract promise nothing yet. */
export function unfrozenNotes(added: readonly PairName[], head: Definitions): string[] {
  const open = added.filter(({ machine, model }) => !contractOf(`${machine}/${model}`, '1', head));
  if (open.length === 0) return [];
  const machines = [...new Set(open.map(({ machine }) => machine))];
  const names = machines
    .slice(-FEW)
    .map((name) => `--machine ${name}`)
    .join(' ');
  const more = machines.length > FEW ? ` and ${machines.length - FEW} more` : '';
  return [
    `${open.length} new pairs have no contract and promise nothing until they are frozen: guest-abi freeze ${names}${more}`,
  ];
}

/** One pair for each finding that a guest can show, and one for each table that is new. */
export function affectedPairs(
  { added }: DefinitionsComparison,
  findings: readonly GateFinding[],
  resolved: ResolvedPairs,
  head: Definitions,
): PairName[] {
  const broken = findings.flatMap(({ kind, machines, models, pairs }): PairName[] => {
    if (kind !== 'changed') return [];
    const [machine, model] = [machines.at(-1)!, models[0]!];
    return pairs.includes(`${machine}/${model}`) ? [{ machine, model }] : [pairOf(pairs.at(-1)!)];
  });
  const tables = new Map<unknown, PairName>();
  for (const pair of added) {
    const found = resolved.of(pair, head);
    if (found instanceof ResolvedPair && !tables.has(found)) tables.set(found, pair);
  }
  return [...broken, ...tables.values()];
}

function pairOf(text: string): PairName {
  const [machine = '', model = ''] = text.split('/');
  return { machine, model };
}
