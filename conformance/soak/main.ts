/**
 * `npm run soak -- --migrations 1000 --saves 1000 --kills 500`: one guest of several vCPUs that writes all the time is moved and saved over and over, and
 * says at each step what it saw. Fails on a changed observation, a lost write, two guests or none without an error, and on what leaks. With
 * `--host lab:5.10 --host lab:6.12` it goes there and back between the two.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { EXIT } from '../../corpora/errors.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { openHosts } from '../cli/hosts.js';
import type { Activity, SoakContext, Tally } from './activity.js';
import { cuts } from './cuts.js';
import { kills } from './kills.js';
import { type Holdings, holdings, leaks } from './leaks.js';
import { migrations } from './migrations.js';
import { saves } from './saves.js';
import { orUsage, toldAs } from './script.js';
import { TravellingWitness } from './travelling-witness.js';
import { startWitness } from './witness-guest.js';

const ACTIVITIES: readonly Activity[] = [migrations, saves, kills, cuts];
/** Those of a guest that goes between hosts; its migrations are cut on the way. */
const BETWEEN_HOSTS = ['migrations', 'saves'];
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
      /** Two of them: between these, not within this process. */
      host: { type: 'string', multiple: true },
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
const left = new Map(ACTIVITIES.map(({ name }) => [name, number(name)]));
const hosts = values.host as string[] | undefined;
const cannot = hosts && [...left].find(([name, count]) => count > 0 && !BETWEEN_HOSTS.includes(name));
if (cannot) {
  console.error(`soak: between hosts it does ${BETWEEN_HOSTS.join(' and ')}, not ${cannot[0]}`);
  process.exit(EXIT.usage);
}
const counts: Record<string, number> = {};
const tally: Tally = {
  random: generator(seed),
  count: (what, by = 1) => {
    counts[what] = (counts[what] ?? 0) + by;
  },
};
process.exitCode = await soak().catch(toldAs('soak'));

/** A guest, and what can be done to it. */
interface Soaked extends AsyncDisposable {
  readonly does: Readonly<Record<string, () => Promise<void>>>;
}

/** One in this process. */
async function here(): Promise<Soaked> {
  const kvm = openKvm();
  const folder = mkdtempSync(join(tmpdir(), 'guest-abi-soak-'));
  const context: SoakContext = { ...tally, kvm, shape, folder, guest: await startWitness(kvm, shape) };
  return {
    does: Object.fromEntries(ACTIVITIES.map((activity) => [activity.name, () => activity.run(context)])),
    [Symbol.asyncDispose]: async () => {
      context.guest[Symbol.dispose]();
      kvm[Symbol.dispose]();
      rmSync(folder, { recursive: true });
    },
  };
}

/** One between two hosts. */
async function between(names: readonly string[]): Promise<Soaked> {
  const opened = await openHosts(names);
  const close = async (): Promise<void> => opened[Symbol.asyncDispose]();
  try {
    const witness = await TravellingWitness.start(opened.hosts, shape, tally);
    return {
      does: { migrations: () => witness.migrate(), saves: () => witness.saveLive() },
      [Symbol.asyncDispose]: async () => {
        await witness[Symbol.asyncDispose]();
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function soak(): Promise<number> {
  await using soaked = await (hosts ? between(hosts) : here());
  const start = performance.now();
  let early: Holdings | null = null;
  let fault: string | null = null;
  let done = 0;
  try {
    for (let said = start; fault === null && performance.now() < until; done++) {
      const name = pick(tally);
      if (!name) break;
      await soaked.does[name]!();
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
function pick({ random }: Tally): string | null {
  const sum = [...left.values()].reduce((all, count) => all + count, 0);
  if (sum === 0) return null;
  let at = random(sum);
  for (const [name, count] of left) {
    if (at < count) {
      left.set(name, count - 1);
      return name;
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
