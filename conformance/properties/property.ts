/** Runs a property in a test: a fixed seed, and a counterexample that says how to replay it. */
import { relative } from 'node:path';
import fc from 'fast-check';
import type { Test } from 'tap';

export interface PropertyOptions {
  /** Fixed, so that every run tries the same values. GUEST_ABI_SEED tries others. */
  readonly seed: number;
  /** Values to try. GUEST_ABI_RUNS tries more. */
  readonly runs: number;
}

/** Passes where `check` throws for no value of `arbitrary`; fails with the smallest value found and the command that replays it. */
export async function holds<T>(
  t: Test,
  arbitrary: fc.Arbitrary<T>,
  check: (value: T) => Promise<void> | void,
  { seed, runs }: PropertyOptions,
): Promise<void> {
  const { GUEST_ABI_SEED, GUEST_ABI_PATH, GUEST_ABI_RUNS } = process.env;
  const ended = await fc.check(
    fc.asyncProperty(arbitrary, async (value) => check(value)),
    {
      seed: Number(GUEST_ABI_SEED ?? seed),
      numRuns: Number(GUEST_ABI_RUNS ?? runs),
      ...(GUEST_ABI_PATH === undefined ? {} : { path: GUEST_ABI_PATH, endOnFailure: true }),
    },
  );
  if (!ended.failed) return void t.pass(`${ended.numRuns} values, seed ${ended.seed}`);
  const file = relative(process.cwd(), process.argv[1] ?? '');
  t.fail(`fails for ${fc.stringify(ended.counterexample)}`, {
    replay: `GUEST_ABI_SEED=${ended.seed} GUEST_ABI_PATH=${ended.counterexamplePath} npx tap ${file}`,
    shrinks: ended.numShrinks,
    why: String(ended.errorInstance),
  });
}
