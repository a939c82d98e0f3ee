/** One fuzz run over one target: changed inputs, each of which must end in a refusal by name or be whole. */
import fc from 'fast-check';
import { byteChanges, sectionChanges, valueChanges } from './mutations.js';
import type { Ending, Target } from './targets.js';

export interface FuzzEnd {
  readonly runs: number;
  /** How many ended how. */
  readonly endings: Readonly<Record<string, number>>;
  /** What went wrong, with what replays it. */
  readonly fault: string | null;
}

/** Half of the inputs have changed bytes, half have changed sections under checksums that hold. */
export async function fuzz(
  target: Target,
  runs: number,
  seed: number,
  until = Number.POSITIVE_INFINITY,
): Promise<FuzzEnd> {
  const endings: Record<string, number> = {};
  const inputs = fc.oneof(
    byteChanges.map((change) => change(target.bytes)),
    fc.oneof(sectionChanges, valueChanges).map((change) => target.seal(change(target.sections))),
  );
  const count = (ending: Ending): void => {
    endings[ending] = (endings[ending] ?? 0) + 1;
  };
  const ended = await fc.check(
    fc.asyncProperty(inputs, async (bytes) => count(await target.take(bytes))),
    {
      seed,
      numRuns: runs,
      interruptAfterTimeLimit: Math.min(until - performance.now(), 2 ** 31 - 1),
      markInterruptAsFailure: false,
    },
  );
  const why = ended.failed
    ? `${String(ended.errorInstance)}; seed ${ended.seed}, path ${ended.counterexamplePath}`
    : null;
  return { runs: ended.numRuns, endings, fault: why };
}
