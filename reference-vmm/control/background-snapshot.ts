/** QEMU's background snapshot: `migrate` to a file with the capability of that name is a live save. */
import type { LiveMachine } from '../live-machine.js';
import { type LiveSave, startLiveSave } from '../snapshot/live-save.js';
import { PAGE_BYTES } from '../snapshot/machine-state.js';
import type { MigrationFacts, MigrationStatus } from './migration-info.js';
import type { OutgoingMigration } from './outgoing-migration.js';

export class BackgroundSnapshot implements OutgoingMigration {
  readonly done: Promise<void>;
  readonly #ramBytes: number;
  readonly #begin = performance.now();
  readonly #tell: (status: MigrationStatus) => void;
  #save: LiveSave | null = null;
  #status: MigrationStatus = 'setup';
  #cancelled = false;
  #setupMs: number | null = null;
  #totalMs: number | null = null;
  #error: string | null = null;

  /** Begins at once. `tell` hears of each status. */
  constructor(live: LiveMachine, file: string, bytesPerSecond: number, tell: (status: MigrationStatus) => void) {
    this.#ramBytes = live.machine.memoryBytes;
    this.#tell = tell;
    tell('setup');
    this.done = this.#run(live, file, bytesPerSecond);
  }

  async #run(live: LiveMachine, file: string, bytesPerSecond: number): Promise<void> {
    try {
      this.#save = await startLiveSave(live, file, { bytesPerSecond });
      this.#setupMs = performance.now() - this.#begin;
      this.#turn('active');
      if (this.#cancelled) this.cancel();
      const { kind } = await this.#save.done;
      this.#end(kind === 'saved' ? 'completed' : 'cancelled');
    } catch (error) {
      this.#error = (error as Error).message;
      this.#end('failed');
    }
  }

  cancel(): void {
    this.#cancelled = true;
    if (!this.#save) return;
    this.#turn('cancelling');
    void this.#save.giveUp();
  }

  #turn(status: MigrationStatus): void {
    this.#status = status;
    this.#tell(status);
  }

  #end(status: MigrationStatus): void {
    this.#totalMs = performance.now() - this.#begin;
    this.#turn(status);
  }

  get facts(): MigrationFacts {
    const { pages, of } = this.#save?.progress() ?? { pages: 0, of: this.#ramBytes / PAGE_BYTES };
    return {
      status: this.#status,
      totalMs: this.#totalMs ?? performance.now() - this.#begin,
      setupMs: this.#setupMs,
      downtimeMs: this.#save?.pauseMs ?? null,
      ramBytes: this.#ramBytes,
      remaining: (of - pages) * PAGE_BYTES,
      transferred: pages * PAGE_BYTES,
      ...{ zeroPages: 0, fullPages: pages, rounds: 1, dirtyPagesRate: 0, error: this.#error, notes: [] },
    };
  }
}
