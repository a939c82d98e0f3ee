/**
 * `npm run soak -- --migrations 1000 --saves 1000 --kills 500`: one guest of several vCPUs that writes all the time is moved and saved over and over, and
 * says at each step what it saw. Fails on a changed observation, a lost write, two guests or none without an error, and on what leaks.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { EXIT } from '../../corpora/errors.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import type { Activity, SoakContext } from './activity.js';
import { cuts } from './cuts.js';
import { kills } from './kills.js';
import { type Holdings, holdings, leaks } from './leaks.js';
import { migrations } from './migrations.js';
import { saves } from './saves.js';
import { orUsage, toldAs } from './script.js';
import { startWitness } from './witness-guest.js';

const ACTIVITIES: readonly Activity[] = [migrations, saves, kills, cuts];
/** After so many the pools are full. */
const WARM_UP = 20;
const SAY_EVERY_MS = 10_000;

const { values } = orUsage('soak', () =>
  parseArgs({
    options: {
      ...Object.fromEntries(ACTIVITIES.map(({ name }) => [name, { type: 'string', default: '0' }] as const)),
      vcpus: { type: 'string', default: '4' },
      /** MiB. */
      memory: { type: 'string', default: '8' },
      seed: { type: 'string', default: '1' },
      /** Ends it after so many, whatever is left. */
      seconds: { type: 'string', default: '3600' },
      json: { type: 'boolean', default: false },
    },
  }),
);
const number = (name: string): number => {
  const text = String((values as Record<string, unknown>)[name]);
  if (/^\d+$/.test(text)) return Number(text);
  console.error(`soak: --${name} takes a whole number, not '${text}'`);
  process.exit(EXIT.usage);
};
const seed = number('seed');
const shape = { vcpus: number('vcpus'), memoryBytes: number('memory') * 1024 * 1024, seed };
const until = performance.now() + number('seconds') * 1000;
const left = new Map(ACTIVITIES.map((activity) => [activity, number(activity.name)]));
const counts: Record<string, number> = {};
const folder = mkdtempSync(join(tmpdir(), 'guest-abi-soak-'));
process.exitCode = await soak().catch(toldAs('soak'));
rmSync(folder, { recursive: true });

async function soak(): Promise<number> {
  using kvm = openKvm();
  const context: SoakContext = {
    ...{ kvm, shape, folder, random: generator(seed) },
    guest: await startWitness(kvm, shape),
    count: (what, by = 1) => {
      counts[what] = (counts[what] ?? 0) + by;
    },
  };
  const start = performance.now();
  let early: Holdings | null = null;
  let fault: string | null = null;
  let done = 0;
  try {
    for (let said = start; fault === null && performance.now() < until; done++) {
      const activity = pick(context);
      if (!activity) break;
      await activity.run(context);
      if (done === WARM_UP) early = holdings();
      if (performance.now() < said + SAY_EVERY_MS) continue;
      said = performance.now();
      console.error(`soak: ${done + 1} done, ${((said - start) / 1000).toFixed(0)} s, ${JSON.stringify(counts)}`);
    }
  } catch (error) {
    fault = (error as Error).message;
    if (process.env.DEBUG) console.error(error);
  }
  const late = holdings();
  context.guest[Symbol.dispose]();
  const faults = [...(fault ? [fault] : []), ...(early ? leaks(early, late) : [])];
  const rest = [...left.values()].reduce((sum, count) => sum + count, 0);
  report({ seed, done, rest, seconds: Math.round((performance.now() - start) / 1000), counts, early, late, faults });
  if (faults.length > 0) return EXIT.broken;
  return rest > 0 ? EXIT.cannot : EXIT.holds;
}

interface Report {
  readonly seed: number;
  readonly done: number;
  /** Not done for lack of time. */
  readonly rest: number;
  readonly seconds: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly early: Holdings | null;
  readonly late: Holdings;
  readonly faults: readonly string[];
}

function report(all: Report): void {
  if (values.json) {
    console.log(JSON.stringify({ schema: 'guest-abi/soak/1', ...all }, null, 1));
    return;
  }
  const { done, rest, seconds, early, late, faults } = all;
  const had = (one: Holdings): string =>
    `${one.fds} descriptors, ${one.threads} threads, ${one.mappings} mappings, ${one.memory} MiB`;
  for (const [what, count] of Object.entries(counts)) console.log(`${String(count).padStart(8)}  ${what}`);
  if (early) console.log(`after ${WARM_UP}: ${had(early)}; at the end: ${had(late)}`);
  for (const fault of faults) console.log(`FAULT  ${fault}`);
  console.log(`${done} done in ${seconds} s, ${rest} not for lack of time; ${faults.length} faults, seed ${seed}`);
}

/** Any of what is left, in proportion. */
function pick({ random }: SoakContext): Activity | null {
  const sum = [...left.values()].reduce((all, count) => all + count, 0);
  if (sum === 0) return null;
  let at = random(sum);
  for (const [activity, count] of left) {
    if (at < count) {
      left.set(activity, count - 1);
      return activity;
    }
    at -= count;
  }
  return null;
}

/** Numbers that are the same for a seed (mulberry32). */
function generator(from: number): (below: number) => number {
  let state = from >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
