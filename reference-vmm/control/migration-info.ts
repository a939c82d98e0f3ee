/** What `query-migrate` tells (qapi/migration.json, MigrationInfo and MigrationStats). */
import { PAGE_BYTES } from '../snapshot/machine-state.js';

/** QEMU's MigrationStatus, as far as this monitor knows them. */
export type MigrationStatus = 'setup' | 'active' | 'device' | 'cancelling' | 'cancelled' | 'completed' | 'failed';

/** Where a migration, or a background snapshot, stands. Times in milliseconds. */
export interface MigrationFacts {
  readonly status: MigrationStatus;
  readonly totalMs: number;
  readonly setupMs: number | null;
  readonly downtimeMs: number | null;
  /** Bytes of the guest's RAM, and how many of them are still to go. */
  readonly ramBytes: number;
  readonly remaining: number;
  readonly transferred: number;
  readonly zeroPages: number;
  readonly fullPages: number;
  readonly rounds: number;
  readonly dirtyPagesRate: number;
  readonly error: string | null;
  /** What went otherwise at the destination without harm, such as another frequency of the TSC. QEMU has no such member. */
  readonly notes: readonly string[];
}

export function migrationInfo(facts: MigrationFacts) {
  const { status, totalMs, setupMs, downtimeMs, error, notes } = facts;
  const whole = Math.round;
  return {
    status,
    ...(setupMs !== null && { 'setup-time': whole(setupMs) }),
    ...(downtimeMs !== null && { downtime: whole(downtimeMs) }),
    'total-time': whole(totalMs),
    ram: ramStats(facts),
    ...(error !== null && { 'error-desc': error }),
    ...(notes.length > 0 && { notes }),
  };
}

function ramStats(facts: MigrationFacts) {
  const { ramBytes, remaining, transferred, zeroPages, fullPages, rounds, dirtyPagesRate, totalMs } = facts;
  return {
    total: ramBytes,
    remaining,
    transferred,
    duplicate: zeroPages,
    normal: fullPages,
    'normal-bytes': fullPages * PAGE_BYTES,
    'dirty-pages-rate': Math.round(dirtyPagesRate),
    mbps: totalMs > 0 ? (transferred * 8) / totalMs / 1000 : 0,
    'dirty-sync-count': rounds,
    'page-size': PAGE_BYTES,
    'pages-per-second': totalMs > 0 ? Math.round((fullPages / totalMs) * 1000) : 0,
    'precopy-bytes': transferred,
    'downtime-bytes': 0,
    // What this monitor does not do.
    'postcopy-requests': 0,
    'postcopy-bytes': 0,
    'multifd-bytes': 0,
    'dirty-sync-missed-zero-copy': 0,
  };
}
