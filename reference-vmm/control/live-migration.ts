/** `migrate` to another machine: the live migration of the guest under control. */

import type { MigrationParameters } from '../migration/parameters.js';
import { MigrationProgress } from '../migration/progress.js';
import { migrateOut } from '../migration/source.js';
import { readTlsFolder } from '../migration/tls.js';
import { connectMigration, type TransportOptions } from '../migration/transport.js';
import type { ControlledMachine } from './controlled-machine.js';
import type { MigrationFacts, MigrationStatus } from './migration-info.js';
import type { OutgoingMigration } from './outgoing-migration.js';

export interface LiveMigrationOptions {
  readonly uri: string;
  readonly parameters: MigrationParameters;
  /** Folder of certificates; empty for no TLS. */
  readonly tlsCreds: string;
  readonly tlsHostname: string;
  /** Hears of each status. */
  readonly tell: (status: MigrationStatus) => void;
}

export class LiveMigration implements OutgoingMigration {
  readonly done: Promise<void>;
  readonly #machine: ControlledMachine;
  readonly #cancel = new AbortController();
  readonly #progress: MigrationProgress;
  #error: string | null = null;
  #notes: readonly string[] = [];
  /** Of a migration that ended before it was one. */
  #failed = false;

  /** Begins at once. Throws `InputError` on a URI or certificates that cannot be. */
  constructor(machine: ControlledMachine, options: LiveMigrationOptions) {
    this.#machine = machine;
    this.#progress = new MigrationProgress((status) => options.tell(inQemusWords(status)));
    options.tell('setup');
    this.done = this.#run(options);
  }

  async #run({ uri, parameters, tlsCreds, tlsHostname, tell }: LiveMigrationOptions): Promise<void> {
    try {
      const transport: TransportOptions = {
        deadlineMs: parameters['silence-limit'],
        ...(tlsCreds && { tls: readTlsFolder(tlsCreds, 'client') }),
        ...(tlsHostname && { tlsHostname }),
      };
      const link = await connectMigration(uri, transport);
      const options = { parameters, progress: this.#progress, signal: this.#cancel.signal };
      const end = await migrateOut(this.#machine.live, link, uri, options);
      if (end.kind === 'completed') {
        this.#notes = end.notes.map(({ message }) => message);
        this.#machine.handedOver();
      } else if (end.kind === 'refused')
        this.#error = `refused: ${end.reasons.map(({ message }) => message).join('; ')}`;
    } catch (error) {
      this.#error = (error as Error).message;
      // Whoever does not know whether the guest runs elsewhere must not let it run here.
      if (this.#progress.status === 'unknown') this.#machine.handedOver();
      if (this.#progress.status === 'setup') {
        this.#failed = true;
        tell('failed');
      }
    }
  }

  cancel(): void {
    this.#cancel.abort();
  }

  get facts(): MigrationFacts {
    const { status, totalMs, setupMs, downtimeMs, remaining, transferred, pages, rounds, dirtyPagesRate } =
      this.#progress;
    return {
      status: this.#failed ? 'failed' : inQemusWords(status),
      totalMs: totalMs || this.#progress.elapsed(),
      setupMs: setupMs || null,
      ...{ downtimeMs, remaining, transferred, rounds, dirtyPagesRate, error: this.#error, notes: this.#notes },
      ramBytes: this.#machine.live.machine.memoryBytes,
      ...{ zeroPages: pages.zero + pages.skipped, fullPages: pages.full },
    };
  }
}

/** QEMU has no word for not knowing: it has failed, and the error says so. */
const inQemusWords = (status: MigrationProgress['status']): MigrationStatus =>
  status === 'unknown' ? 'failed' : status;
