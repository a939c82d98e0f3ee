/** What `migrate` starts. */
import type { MigrationFacts } from './migration-info.js';

export interface OutgoingMigration {
  /** Resolves when it is over, however it ended. */
  readonly done: Promise<void>;
  readonly facts: MigrationFacts;
  /** Gives up; it may be too late. */
  cancel(): void;
}
