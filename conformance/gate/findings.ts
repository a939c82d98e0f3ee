/** From changed pairs to findings: pairs that one cause changed in one way become one, the widest first. */
import type { Reason } from '../../corpora/verdict.js';
import type { PairChange } from './compare-definitions.js';
import { effectsOf } from './effects.js';
import type { Cause, GateFinding } from './result.js';

export function findingsOf(
  changes: readonly PairChange[],
  causesOf: (change: PairChange) => readonly Cause[],
): Omit<GateFinding, 'fix'>[] {
  const groups = new Map<string, { causes: readonly Cause[]; changes: PairChange[] }>();
  for (const change of changes) {
    const causes = causesOf(change);
    const key = JSON.stringify([change.kind, causes, change.reasons.map(saidOnce(change))]);
    const group = groups.get(key) ?? { causes, changes: [] };
    group.changes.push(change);
    groups.set(key, group);
  }
  return [...groups.values()].map(({ causes, changes: own }) => {
    const [{ kind, reasons }] = own as [PairChange];
    return {
      ...{ kind, causes, reasons: sorted(reasons), effects: effectsOf(reasons) },
      pairs: own.map(({ machine, model }) => `${machine}/${model}`),
      models: [...new Set(own.map(({ model }) => model))].sort(),
      machines: [...new Set(own.map(({ machine }) => machine))],
    };
  });
}

/** A message may name its own pair; what it says of it is the same for others. */
const saidOnce =
  ({ machine, model }: PairChange) =>
  ({ message }: Reason): string =>
    message.replaceAll(`${machine}/${model}`, '').replaceAll(`'${machine}'`, '').replaceAll(`'${model}'`, '');

/** What a reader wants first: levels and signature, features, contents; rows that come and go last. */
export function sorted(reasons: readonly Reason[]): Reason[] {
  const weight = ({ leaf, feature, register, code }: Reason): number => {
    if (code.includes('-row-')) return 4;
    if (register === 'eax' && leaf !== null && /^0x[08c]000000[01]$/.test(leaf)) return 0;
    return feature === null ? 2 : 1;
  };
  return [...reasons].sort((a, b) => weight(a) - weight(b));
}
