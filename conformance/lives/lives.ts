/** The property of this project: however a guest lives, it never sees another CPU. Generates lives, plays them, shrinks a finding to the shortest life. */
import fc from 'fast-check';
import type { Host } from '../hosts/host.js';
import { lifeCommands } from './commands.js';
import { GuestLife, type LifeStep } from './guest-life.js';
import { generatedStage, isPromised, lifeStage, type StageOptions, upgradedIdentity } from './stages.js';

export interface LivesOptions extends StageOptions {
  readonly seed: number;
  readonly runs: number;
  /** Stop after so many milliseconds, with what was tried until then. */
  readonly timeMs?: number;
  /** Longest life, in events. */
  readonly maxEvents: number;
  /** Of a counterexample: plays it again. */
  readonly replay?: { readonly path: string; readonly replayPath: string };
  readonly onLife?: (lives: number) => void;
}

/** What was tried, for people to judge whether it was enough. */
export interface Distribution {
  lives: number;
  /** Lives in which a guest moved between kernels of different versions and nothing changed. */
  movedBetweenKernels: number;
  /** Lives in which a move to another host was refused, as predicted. */
  refusedMoves: number;
  readonly steps: Map<string, number>;
  readonly verdicts: Map<string, number>;
}

export interface LivesEnd {
  readonly distribution: Distribution;
  readonly seed: number;
  /** The shortest life found in which a step came out otherwise than predicted. */
  readonly finding: {
    readonly life: string;
    readonly why: string;
    readonly path: string;
    readonly replayPath: string;
  } | null;
}

export async function tryLives(hosts: readonly Host[], options: LivesOptions): Promise<LivesEnd> {
  const distribution: Distribution = {
    ...{ lives: 0, movedBetweenKernels: 0, refusedMoves: 0 },
    ...{ steps: new Map(), verdicts: new Map() },
  };
  const { seed, runs, timeMs, maxEvents, replay } = options;
  const commands = fc.commands(lifeCommands, {
    maxCommands: maxEvents,
    size: 'max',
    ...(replay ? { replayPath: replay.replayPath } : {}),
  });
  const ended = await fc.check(
    fc.asyncProperty(generatedStage(hosts, options), commands, async (stage, events) => {
      // The lives behind it are those that shrinking would try: not asked for.
      if (replay) fc.pre(distribution.lives === 0);
      await using real = await GuestLife.begin(lifeStage(stage, options));
      const model = { upgraded: isPromised(stage) ? (pick: number) => upgradedIdentity(stage, pick) : null };
      await fc.asyncModelRun(() => ({ model, real }), events);
      count(distribution, real.steps);
      options.onLife?.(distribution.lives);
    }),
    {
      ...{ seed, numRuns: runs },
      ...(timeMs === undefined ? {} : { interruptAfterTimeLimit: timeMs, markInterruptAsFailure: false }),
      ...(replay ? { path: replay.path, endOnFailure: true, maxSkipsPerRun: 0 } : {}),
    },
  );
  if (ended.counterexample === null) return { distribution, seed, finding: null };
  const [stage, events] = ended.counterexample;
  const told = fc.stringify(events);
  const [, replayPath = ''] = /replayPath="([^"]*)"/.exec(told) ?? [];
  const why = ended.errorInstance instanceof Error ? ended.errorInstance.message : String(ended.errorInstance);
  const life = `${String(stage)}: ${told.replace(/\s*\/\*.*\*\//, '')}`;
  return { distribution, seed, finding: { life, why, path: ended.counterexamplePath ?? '', replayPath } };
}

/** True where fewer than half of the lives went over two kernels unchanged: what was shown is mostly of one. */
export const movedTooFew = ({ lives, movedBetweenKernels }: Distribution): boolean => movedBetweenKernels * 2 < lives;

function count(distribution: Distribution, steps: readonly LifeStep[]): void {
  distribution.lives++;
  const unchanged = ({ verdict }: LifeStep): boolean => verdict === 'identical' || verdict === 'altered';
  if (steps.some((step) => step.moved !== null && step.moved[0] !== step.moved[1] && unchanged(step)))
    distribution.movedBetweenKernels++;
  if (steps.some(({ moved, verdict }) => moved !== null && verdict === 'refused')) distribution.refusedMoves++;
  for (const { event, verdict, recorded } of steps) {
    add(distribution.steps, event);
    add(distribution.verdicts, recorded ? `${verdict} (recorded)` : verdict);
  }
}

const add = (counts: Map<string, number>, key: string): void => void counts.set(key, (counts.get(key) ?? 0) + 1);
