/** `npm run bench`: how close the path from a pair to an observation comes to C, and what resolving costs; each beside its goal. */
import { parseArgs } from 'node:util';
import { EXIT, GuestAbiError } from '../../corpora/errors.js';
import { type MachineFacts, machineFacts, peakMemory } from './machine-facts.js';
import { type MigrationRow, migrationBench } from './migration.js';
import { type PairToObservation, pairToObservation } from './pair-to-observation.js';
import { type ResolveAll, resolveAll, resolveProcess } from './resolving.js';
import type { Spread } from './spread.js';

/** Ratio to the C floor; MiB; milliseconds; ratios to QEMU, of the worst size. */
const GOALS = {
  ...{ ratio: 1.3, peakMemory: 150, resolve: 150, resolveAll: 5000, resolveAllMemory: 500 },
  ...{ migrationTotal: 1, migrationDowntime: 1 },
} as const;

interface Results {
  readonly schema: 'guest-abi/bench/1';
  readonly at: string;
  readonly machine: MachineFacts;
  /** Null where this machine cannot: `cannot` says why. */
  readonly pairToObservation: PairToObservation | null;
  readonly cannot: string | null;
  /** Beside QEMU; null where this machine cannot: `cannotMigrate` says why. */
  readonly migration: readonly MigrationRow[] | null;
  readonly cannotMigrate: string | null;
  /** Of the process that booted the guests, MiB. */
  readonly peakMemory: number;
  /** Milliseconds. */
  readonly resolveProcess: Spread;
  readonly resolveAll: ResolveAll;
  readonly goals: typeof GOALS;
  readonly missed: readonly string[];
}

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '400' },
    migrations: { type: 'string', default: '10' },
  },
});
const results = await measure(Number(values.rounds));
console.log(values.json ? JSON.stringify(results, null, 1) : report(results));
process.exitCode = results.cannot ? EXIT.cannot : results.missed.length > 0 ? EXIT.broken : EXIT.holds;

async function measure(rounds: number): Promise<Results> {
  const machine = machineFacts();
  const boots = await pairToObservation(rounds).catch((error: unknown) => {
    if (error instanceof GuestAbiError) return error;
    throw error;
  });
  const peak = peakMemory();
  const done = {
    pairToObservation: boots instanceof GuestAbiError ? null : boots,
    peakMemory: peak,
    resolveProcess: resolveProcess(),
    resolveAll: resolveAll(),
    ...(await migrationRows(Number(values.migrations))),
  };
  return {
    schema: 'guest-abi/bench/1',
    at: new Date().toISOString(),
    machine,
    ...done,
    cannot: boots instanceof GuestAbiError ? boots.message : null,
    goals: GOALS,
    missed: missedGoals(done),
  };
}

function missedGoals(
  done: Pick<Results, 'pairToObservation' | 'peakMemory' | 'resolveProcess' | 'resolveAll' | 'migration'>,
): string[] {
  const measured: Readonly<Record<keyof typeof GOALS, number>> = {
    ratio: done.pairToObservation?.observed.ratio ?? 0,
    peakMemory: done.peakMemory,
    resolve: done.resolveProcess.median,
    resolveAll: done.resolveAll.milliseconds,
    resolveAllMemory: done.resolveAll.peakMemory,
    migrationTotal: worst(done.migration, 'total'),
    migrationDowntime: worst(done.migration, 'downtime'),
  };
  const names = Object.keys(GOALS) as (keyof typeof GOALS)[];
  return names.filter((name) => measured[name] > GOALS[name]);
}

/** Of the medians, ours to QEMU's; 0 where there is none. QEMU counts whole milliseconds. */
const worst = (rows: readonly MigrationRow[] | null, part: 'total' | 'downtime'): number =>
  Math.max(0, ...(rows ?? []).map((row) => row[part].ours.median / Math.max(row[part].qemu.median, 1)));

async function migrationRows(rounds: number): Promise<Pick<Results, 'migration' | 'cannotMigrate'>> {
  try {
    return { migration: await migrationBench(rounds), cannotMigrate: null };
  } catch (error) {
    if (!(error instanceof GuestAbiError)) throw error;
    return { migration: null, cannotMigrate: error.message };
  }
}

function migrationLines({ migration, cannotMigrate, missed }: Results): string[] {
  if (!migration) return [`cannot  migrate beside QEMU: ${cannotMigrate}`];
  const ms = ({ lower, median, upper }: Spread): string => `${median} ms (${lower} to ${upper})`;
  const line = (name: 'migrationTotal' | 'migrationDowntime', part: 'total' | 'downtime', what: string) =>
    migration.map(
      (row) =>
        `${missed.includes(name) ? 'MISSED' : 'ok    '}  migration of ${row.memory} MiB, ${what}: ${ms(row[part].ours)}, QEMU 11.1 (TCG) ${ms(row[part].qemu)}; median of ${row.rounds}`,
    );
  return [
    ...line('migrationTotal', 'total', 'total'),
    ...line('migrationDowntime', 'downtime', "down (ours until the destination runs, QEMU's until all is sent)"),
  ];
}

function report(results: Results): string {
  const { machine, pairToObservation: boots, resolveProcess: one, resolveAll: all } = results;
  const line = (name: keyof typeof GOALS, text: string): string =>
    `${results.missed.includes(name) ? 'MISSED' : 'ok    '}  ${text}`;
  const spread = ({ lower, median, upper }: Spread): string =>
    `${median.toFixed(0)} us (${lower.toFixed(0)} to ${upper.toFixed(0)})`;
  return [
    `${machine.kernel} ${machine.module}, ${machine.cpu}, ${machine.cores} cores, node ${machine.node}, load ${machine.load}`,
    boots
      ? line(
          'ratio',
          `${boots.pair} to observation: ${spread(boots.observed.ours)}, C floor ${spread(boots.observed.floor)}: ratio ${boots.observed.ratio.toFixed(2)} (goal ${GOALS.ratio}), median of ${boots.rounds}; with teardown ${boots.closed.ratio.toFixed(2)}`,
        )
      : `cannot  measure a pair to observation: ${results.cannot}`,
    line('peakMemory', `peak memory ${results.peakMemory.toFixed(0)} MiB (goal ${GOALS.peakMemory})`),
    line(
      'resolve',
      `guest-abi resolve, whole process: ${one.median.toFixed(0)} ms (${one.lower.toFixed(0)} to ${one.upper.toFixed(0)}; goal ${GOALS.resolve})`,
    ),
    line('resolveAll', `${all.pairs} pairs resolved: ${all.milliseconds.toFixed(0)} ms (goal ${GOALS.resolveAll})`),
    line('resolveAllMemory', `  in ${all.peakMemory.toFixed(0)} MiB (goal ${GOALS.resolveAllMemory})`),
    ...migrationLines(results),
  ].join('\n');
}
