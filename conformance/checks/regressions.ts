/** The regression corpus: its form, that each file is named as its case, and that mutants and the code that plays them match. */
import { readFileSync } from 'node:fs';
import { canonical } from '../../corpora/canonical.js';
import { parsePair } from '../../corpora/pair.js';
import { type Regression, regressionFiles, regressions, regressionsFolder } from '../../corpora/regressions.js';
import { monitorFaultNames } from '../regressions/monitors.js';
import { ruleNames } from '../regressions/rules.js';
import type { Check } from './check.js';

export const regressionsHold: Check = {
  name: 'regressions are in their one form, and every mutant of them can be played',
  run: async () => {
    const { regressionSchema } = await import('../../corpora/regressions/schema.js');
    const files = regressionFiles().flatMap((name) => {
      const text = readFileSync(`${regressionsFolder()}/${name}`, 'utf8');
      const json: unknown = JSON.parse(text);
      const { error } = regressionSchema.safeParse(json);
      const form = canonical(json) === text ? [] : [`regressions/${name} is not in canonical form`];
      const id = (json as Regression).id === name.replace(/\.json$/, '') ? [] : [`regressions/${name} has another id`];
      return [
        ...form,
        ...id,
        ...(error?.issues ?? []).map(({ path, message }) => `${name} ${path.join('.')}: ${message}`),
      ];
    });
    return [...files, ...regressionFaults(regressions())];
  },
};

/** What the schema does not say. */
export function regressionFaults(all: readonly Regression[]): string[] {
  const mutants = all.flatMap(({ mutants }) => mutants);
  const rules = mutants.flatMap((mutant) => (mutant.kind === 'resolver' ? mutant.rule : []));
  const faults = mutants.flatMap((mutant) => (mutant.kind === 'monitor' ? mutant.fault : []));
  return [
    ...all
      .filter(({ id }, i) => Number(id.slice(0, 3)) !== i + 1)
      .map(({ id }) => `${id}: cases are numbered from 1 without gaps`),
    ...unmatched('rule', rules, ruleNames()),
    ...unmatched('monitor fault', faults, monitorFaultNames()),
    ...all.flatMap(({ id, pins = {}, mutants: own }) =>
      [...Object.keys(pins), ...own.flatMap(({ pairs }) => pairs)].flatMap((pair) => malformedPair(id, pair)),
    ),
  ];
}

const unmatched = (kind: string, asked: readonly string[], known: readonly string[]): string[] => [
  ...asked.filter((name) => !known.includes(name)).map((name) => `there is no ${kind} '${name}'`),
  ...known.filter((name) => !asked.includes(name)).map((name) => `no mutant plays the ${kind} '${name}'`),
];

function malformedPair(id: string, pair: string): string[] {
  try {
    parsePair(pair);
    return [];
  } catch (error) {
    return [`${id}: ${(error as Error).message}`];
  }
}
