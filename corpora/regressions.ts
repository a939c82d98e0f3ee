/** Regressions: guest ABI breaks that happened to real hypervisors, and the mutants that repeat them. Data in `regressions/`. */
import { readdirSync, readFileSync } from 'node:fs';
import type { z } from 'zod';
import { packageFile } from './package-root.js';
import type { mutantSchema, regressionSchema, WRITTEN_LIVES } from './regressions/schema.js';

export type Regression = z.infer<typeof regressionSchema>;
export type Mutant = z.infer<typeof mutantSchema>;
/** Lives in which the guest has written its MSRs before it moves. */
export type WrittenLife = (typeof WRITTEN_LIVES)[number];

/** Absolute path of the folder. */
export const regressionsFolder = (): string => packageFile('corpora/regressions');

/** Names of the files, in the order of their numbers. */
export const regressionFiles = (): string[] =>
  readdirSync(regressionsFolder())
    .filter((name) => name.endsWith('.json'))
    .sort();

let all: readonly Regression[] | undefined;

/** All regressions, by number; read once. Their form is held by a check. */
export function regressions(): readonly Regression[] {
  all ??= regressionFiles().map(
    (name) => JSON.parse(readFileSync(`${regressionsFolder()}/${name}`, 'utf8')) as Regression,
  );
  return all;
}
