/** The source of a migration: it copies the memory of the running guest, and lets go only once the destination has all of it. */
import type { Duplex } from 'node:stream';
import { MachineError } from '../../corpora/errors.js';
import type { Reason } from '../../corpora/verdict.js';
import type { DirtyLog } from '../kvm/kvm.js';
import { touchedPages } from '../kvm/touched-pages.js';
import type { LiveMachine } from '../live-machine.js';
import { coreSections, PAGE_BYTES } from '../snapshot/machine-state.js';
import { Link } from './link.js';
import { decodeJson, MESSAGE, readReasons } from './messages.js';
import { encodeOffer } from './offer.js';
import { Pace } from './pace.js';
import { PageBatch, pagesIn, SentMemory } from './pages.js';
import { DEFAULT_PARAMETERS, type MigrationParameters } from './parameters.js';
import { MigrationProgress } from './progress.js';

export type MigrationEnd =
  /** The destination has the guest; `notes` is what went otherwise there without harm. The machine here is to be disposed. */
  | { readonly kind: 'completed'; readonly notes: readonly Reason[] }
  /** The destination cannot take it. The guest runs on here, as after `cancelled`. */
  | { readonly kind: 'refused'; readonly reasons: readonly Reason[] }
  | { readonly kind: 'cancelled' };

export interface MigrateOptions {
  readonly parameters?: MigrationParameters;
  /** Cancels, up to the hand-over; from there on it does nothing. */
  readonly signal?: AbortSignal;
  readonly progress?: MigrationProgress;
}

/** Milliseconds in which a destination's last word is here, or never comes. */
const LAST_WORD_MS = 200;
/** Milliseconds that registers, devices and answers take beside memory. */
const STATE_MS = 2;

/**
 * Migrates a machine, running or paused, over `duplex` to a destination that listens. `name` is what the user calls the link.
 *
 * Whatever ends it before the hand-over, the machine is afterwards as it was: it runs if it ran. Throws `MachineError`
 * `migration-link` or `migration-not-converging` then, `guest-ended` where the guest ended meanwhile, `ContainerError` where the destination does
 * not speak this protocol; and `migration-unknown` where the link broke after the hand-over: the machine then stays paused, since the guest may run
 * at the destination.
 */
export async function migrateOut(
  machine: LiveMachine,
  duplex: Duplex,
  name: string,
  { parameters = DEFAULT_PARAMETERS, signal, progress = new MigrationProgress() }: MigrateOptions = {},
): Promise<MigrationEnd> {
  const link = new Link(duplex, name, 'source');
  const cancel = (): void => link.abort(new Cancelled());
  signal?.addEventListener('abort', cancel);
  if (signal?.aborted) cancel();
  const migration = new Outgoing(machine, link, parameters, progress, () =>
    signal?.removeEventListener('abort', cancel),
  );
  try {
    const end = await migration.run();
    progress.end(end.kind === 'completed' ? 'completed' : 'failed');
    return end;
  } catch (error) {
    if (error instanceof Cancelled) {
      progress.end('cancelled');
      return { kind: 'cancelled' };
    }
    progress.end((error as MachineError).code === 'migration-unknown' ? 'unknown' : 'failed');
    throw error;
  } finally {
    signal?.removeEventListener('abort', cancel);
    link.close();
  }
}

class Cancelled extends Error {}
class Refused extends Error {
  readonly reasons: readonly Reason[];

  constructor(reasons: readonly Reason[]) {
    super('refused');
    this.reasons = reasons;
  }
}

class Outgoing {
  readonly #machine: LiveMachine;
  readonly #link: Link;
  readonly #parameters: MigrationParameters;
  readonly #progress: MigrationProgress;
  /** Called at the hand-over: nothing can be cancelled any more. */
  readonly #onHandOver: () => void;
  readonly #sent = new SentMemory();
  readonly #batch = new PageBatch();
  readonly #pace: Pace;
  /** Pages that were written and not looked at since. */
  #written: Uint8Array;
  /** Of the machine, when the log was read last. */
  #resets = -1;
  #sending: Promise<void> = Promise.resolve();

  constructor(
    machine: LiveMachine,
    link: Link,
    parameters: MigrationParameters,
    progress: MigrationProgress,
    onHandOver: () => void,
  ) {
    this.#machine = machine;
    this.#link = link;
    this.#parameters = parameters;
    this.#progress = progress;
    this.#onHandOver = onHandOver;
    this.#pace = new Pace(parameters['max-bandwidth']);
    this.#written = new Uint8Array(Math.ceil(this.#pages / 8));
  }

  get #ram(): Uint8Array {
    return this.#machine.ram;
  }

  get #pages(): number {
    return this.#ram.length / PAGE_BYTES;
  }

  async run(): Promise<MigrationEnd> {
    try {
      await this.#offer();
      await this.#copyAndStop();
    } catch (error) {
      if (error instanceof Refused) return { kind: 'refused', reasons: error.reasons };
      throw error;
    }
    return { kind: 'completed', notes: this.#notes };
  }

  #notes: readonly Reason[] = [];
  /** The last word of a destination that gave up, null where it said none. */
  #said: Promise<Refused | null> | null = null;

  async #offer(): Promise<void> {
    const { identity } = this.#machine;
    await this.#send(MESSAGE.offer, encodeOffer({ identity, ...this.#machine.travelFacts() }));
    await this.#answer(MESSAGE.accepted);
    this.#progress.accepted();
  }

  async #copyAndStop(): Promise<void> {
    using log = this.#machine.openDirtyLog();
    if (this.#machine.state === 'running') await this.#copyWhileItRuns(log);
    // Its owner may have stopped it meanwhile.
    const ran = this.#machine.state === 'running';
    this.#progress.stop();
    this.#machine.pause();
    try {
      this.#machine.tellWaiting();
      this.#checkThatItLives();
      // For ever, where the guest goes, or may have gone: its owner must not let it run here too.
      this.#machine.hold();
      await this.#handOver(log, ran);
    } catch (error) {
      if ((error as MachineError).code !== 'migration-unknown') {
        this.#machine.letGo();
        if (ran) this.#resume();
      }
      throw error;
    }
  }

  /** Unless it ended, or was disposed with its KVM. */
  #resume(): void {
    const { state, memory } = this.#machine;
    if (state === 'paused' && memory.regions.length > 0) this.#machine.resume();
  }

  /** Whoever owns the machine may end it during any wait. */
  #checkThatItLives(): void {
    void this.#machine.ram;
    if (this.#machine.state === 'ended')
      throw new MachineError('guest-ended', 'the guest ended while it was being migrated: nothing was handed over');
  }

  /** Rounds over what was written, until what is left can be sent within the downtime limit. */
  async #copyWhileItRuns(log: DirtyLog): Promise<void> {
    const { 'downtime-limit': limit, 'max-rounds': most, 'when-not-converging': policy } = this.#parameters;
    const progress = this.#progress;
    for (let left = this.#collect(log); ; ) {
      const looked = left;
      const start = performance.now();
      const before = progress.transferred;
      await this.#sendWritten(true);
      const ms = Math.max(performance.now() - start, 0.1);
      progress.rounds++;
      progress.bandwidth = ((progress.transferred - before) / ms) * 1000;
      left = this.#collect(log);
      progress.dirtyPagesRate = (left / ms) * 1000;
      progress.expectedDowntime = STATE_MS + (looked === 0 ? 0 : (left * ms) / looked);
      this.#checkThatItLives();
      // The first round looks at all of memory, most of it zero: it does not say what a written page costs.
      if (left === 0 || (progress.rounds > 1 && progress.expectedDowntime <= limit)) return;
      if (progress.rounds < most) continue;
      if (policy === 'stop') return;
      throw new MachineError(
        'migration-not-converging',
        `after ${most} rounds ${left} pages are left, ${progress.expectedDowntime.toFixed(0)} ms of downtime where ${limit} ms are allowed: the guest runs on here`,
      );
    }
  }

  /** Takes the log into `#written`. Gives the number of pages that stand there. */
  #collect(log: DirtyLog): number {
    this.#checkThatItLives();
    const noted = log.take();
    // The first time all pages are noted, and a reset loads the image past the log.
    if (this.#machine.resets === this.#resets)
      for (let i = 0; i < this.#written.length; i++) this.#written[i]! |= noted[i]!;
    else this.#written = touchedPages(this.#machine.memory.regions[0]!);
    this.#resets = this.#machine.resets;
    const left = countPages(this.#written, this.#pages);
    this.#progress.remaining = left * PAGE_BYTES;
    return left;
  }

  /** Sends the pages of `#written`; while the guest runs, within the bandwidth limit and until all are with the kernel. */
  async #sendWritten(paced: boolean): Promise<void> {
    const written = this.#written;
    this.#written = new Uint8Array(written.length);
    let turned = performance.now();
    for (const page of pagesIn(written, this.#pages)) {
      this.#sent.add(this.#batch, this.#ram, page);
      if (this.#batch.full) await this.#sendBatch(paced);
      // The event loop serves the guest and hears of a cancellation, also where nothing has to be sent.
      if (!paced || performance.now() - turned < TURN_MS) continue;
      await new Promise<void>((resolve) => setImmediate(resolve));
      turned = performance.now();
    }
    if (!this.#batch.empty) await this.#sendBatch(paced);
    if (paced) await this.#sending;
    this.#progress.pages = { ...this.#sent.counts };
    this.#progress.remaining = 0;
  }

  /** Hands a batch to the link; the next is filled while it goes. */
  async #sendBatch(paced: boolean): Promise<void> {
    const payload = this.#batch.take();
    await this.#sending;
    this.#sending = this.#send(MESSAGE.pages, payload);
    this.#sending.catch(() => undefined);
    const ms = paced ? this.#pace.restAfter(payload.length) : 0;
    if (ms >= 1) await this.#link.rest(ms);
  }

  /** The rest of memory, the state, and the guest. Precondition: the machine stands still. */
  async #handOver(log: DirtyLog, ran: boolean): Promise<void> {
    this.#collect(log);
    await this.#sendWritten(false);
    this.#checkThatItLives();
    // In one go behind the pages: each wait for the kernel would be downtime.
    const core = coreSections(this.#machine.saveCore()).map(({ type, payload }) => this.#send(type, payload));
    await Promise.all([this.#sending, ...core]);
    this.#notes = await this.#answer(MESSAGE.loaded);
    this.#onHandOver();
    try {
      await this.#send(MESSAGE.go, Uint8Array.of(ran ? 1 : 0));
      await this.#answer(MESSAGE.running);
      this.#progress.runsThere();
    } catch (error) {
      throw new MachineError(
        'migration-unknown',
        `the guest was handed over and no confirmation came (${(error as Error).message}): it may run at the destination and stays stopped here`,
        { cause: error },
      );
    }
  }

  async #send(type: number, payload: Uint8Array): Promise<void> {
    try {
      await this.#link.send(type, payload, this.#parameters['silence-limit']);
    } catch (error) {
      throw await this.#lastWord(error);
    }
    this.#progress.transferred += payload.length;
  }

  /** A destination that gives up between its answers says why, and closes the link. */
  async #lastWord(error: unknown): Promise<unknown> {
    if (error instanceof Cancelled) return error;
    // Several sends may fail at once; it is said once.
    this.#said ??= this.#answer(MESSAGE.refused, LAST_WORD_MS).then(
      () => null,
      (why: unknown) => (why instanceof Refused ? why : null),
    );
    return (await this.#said) ?? error;
  }

  /** The notes of the answer. */
  async #answer(wanted: number, deadlineMs = this.#parameters['silence-limit']): Promise<readonly Reason[]> {
    const section = await this.#link.receive([wanted, MESSAGE.refused], deadlineMs);
    const reasons = section.payload.length === 0 ? [] : decodeJson(section, this.#link.name, readReasons);
    if (section.type === MESSAGE.refused) throw new Refused(reasons);
    return reasons;
  }
}

/** How long exits of the guest wait at most for pages to be looked at, in milliseconds. */
const TURN_MS = 1;

function countPages(bitmap: Uint8Array, pages: number): number {
  let count = 0;
  for (const _ of pagesIn(bitmap, pages)) count++;
  return count;
}
