/** The steps that every life of a scenario shows when it is lived to its end. Said apart from the plays: one that ends early is held to them. */
import type { Scenario } from '../../corpora/verdict.js';
import { bootStepNames } from './boot.js';
import type { Stage } from './scenario.js';

/** What the length of a life follows from. */
export type Due = (stage: Stage) => readonly string[];

/** Without the attempts of `migrate` that are given up: a guest that was sent all the same makes none. */
export const DUE: Readonly<Record<Scenario, Due>> = {
  boot: bootStepNames,
  reset: (stage) => [
    ...bootStepNames(stage),
    ...['reset-port', 'reset-keyboard', 'triple-fault', ...(stage.apic ? ['init'] : [])],
  ],
  'cold-start': (stage) => [...bootStepNames(stage), ...bootStepNames(stage).map((name) => `cold-${name}`)],
  'snapshot-restore': (stage) => [...bootStepNames(stage), 'restore'],
  'live-snapshot': (stage) => [...bootStepNames(stage), 'while-saved', 'after-save', 'restore', 'restore-again'],
  migrate: (stage) => [...bootStepNames(stage), ...stage.hosts.slice(1).map((_, i) => `hop-${i + 1}`)],
};
