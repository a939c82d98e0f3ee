/** Kills of a soak: one side of a migration is another process, which dies by SIGKILL at any moment. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { GuestAbiError } from '../../corpora/errors.js';
import { migrateIn } from '../../reference-vmm/migration/destination.js';
import { DEFAULT_PARAMETERS } from '../../reference-vmm/migration/parameters.js';
import { MigrationProgress } from '../../reference-vmm/migration/progress.js';
import { migrateOut } from '../../reference-vmm/migration/source.js';
import { connectMigration, listenForMigration } from '../../reference-vmm/migration/transport.js';
import type { Activity, SoakContext } from './activity.js';
import { askWitness, realizerOf, startWitness } from './witness-guest.js';

/** The kill falls so long after a stage was reached: before, into and behind the hand-over. */
const STAGES = ['setup', 'active', 'device', 'completed'] as const;
const WINDOW_MS = 30;
/** A stage that is not reached in this time never is. */
const STAGE_MS = 5000;
const parameters = { ...DEFAULT_PARAMETERS, 'silence-limit': 10_000 };

export const kills: Activity = {
  name: 'kills',
  run: async (context) => {
    // Its vCPUs would take the processors from the other process, which has a guest to start.
    context.guest.pause();
    if (context.random(2) === 0) return killDestination(context);
    await killSource(context);
    context.guest.resume();
  },
};

/** The other process, and what it says. */
class Side implements AsyncDisposable {
  readonly said: string[] = [];
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  readonly #closed: Promise<unknown>;

  constructor(role: 'source' | 'destination', uri: string, { shape }: SoakContext) {
    const script = fileURLToPath(new URL('kill-side.js', import.meta.url));
    this.#child = spawn(process.execPath, [script, role, uri, JSON.stringify(shape)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#lines = createInterface(this.#child.stdout!).on('line', (line) => this.said.push(line));
    this.#closed = once(this.#child, 'close');
  }

  /** Resolves once it said so; throws where it ends before. */
  async says(line: string): Promise<void> {
    const ended = this.#closed.then(() => 'ended');
    while (!this.said.includes(line))
      if ((await Promise.race([once(this.#lines, 'line'), ended])) === 'ended')
        throw new Error(`the other process ended by itself before '${line}'`);
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}

/** The guest is here: afterwards it runs here, or it ran there, or it stands still and the error says that nobody knows. */
async function killDestination(context: SoakContext): Promise<void> {
  const uri = `unix:${join(context.folder, 'kill.sock')}`;
  await using other = new Side('destination', uri, context);
  await other.says('listening');
  context.guest.resume();
  const link = await connectMigration(uri);
  const stage = STAGES[context.random(STAGES.length)]!;
  let reached = (): void => undefined;
  const atStage = new Promise<void>((resolve) => {
    reached = resolve;
  });
  if (stage === 'setup') reached();
  const progress = new MigrationProgress((status) => status === stage && reached());
  const ended = migrateOut(context.guest, link, uri, { parameters, progress }).then(
    ({ kind }) => kind as string,
    (error: unknown) => codeOf(error),
  );
  await Promise.race([atStage, sleep(STAGE_MS)]);
  await sleep(context.random(WINDOW_MS));
  await other.kill();
  const how = await ended;
  const ranThere = other.said.includes('running');
  context.count(`destination killed: ${how}`);
  const { guest } = context;
  rmSync(uri.slice('unix:'.length), { force: true });
  if (how === 'migration-link') {
    if (ranThere) throw new Error('two guests: the destination ran it, and the source goes on');
    if (guest.state !== 'running') throw new Error('no guest: the destination was killed and the source stands still');
    await askWitness(guest);
    return;
  }
  if (how !== 'completed' && how !== 'migration-unknown') throw new Error(`killed destination: ${how}`);
  if (guest.state !== 'paused') throw new Error(`after '${how}' the source's guest is ${guest.state}`);
  // The kill took the guest with it: here is another.
  guest[Symbol.dispose]();
  context.guest = await startWitness(context.kvm, context.shape);
}

/** The guest is there, and comes here or dies with its process. */
async function killSource(context: SoakContext): Promise<void> {
  const uri = `unix:${join(context.folder, 'kill.sock')}`;
  const listening = await listenForMigration(uri);
  await using other = new Side('source', uri, context);
  const arriving = listening.connection
    .then((link) => migrateIn(link, uri, realizerOf(context.kvm, context.shape), { silenceMs: 10_000 }))
    .then(
      (arrival) => arrival,
      (error: unknown) => codeOf(error),
    );
  await other.says(STAGES[context.random(STAGES.length)]!);
  await sleep(context.random(WINDOW_MS));
  await other.kill();
  // One that died before its first word was no source yet: the destination would wait on for another.
  listening.close();
  const arrival = await arriving;
  if (typeof arrival === 'string') {
    context.count(`source killed: ${arrival}`);
    if (arrival !== 'migration-link') throw new Error(`killed source: ${arrival}`);
    return;
  }
  if (arrival.kind !== 'arrived') throw new Error('killed source: refused');
  context.count('source killed: arrived');
  await askWitness(arrival.machine);
  arrival.machine[Symbol.dispose]();
}

/** Throws an error that nobody expected. */
function codeOf(error: unknown): string {
  if (error instanceof GuestAbiError) return error.code;
  throw error;
}
