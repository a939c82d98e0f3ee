/** All scenarios by name. */
import { boot } from './boot.js';
import { coldStart } from './cold-start.js';
import { liveSnapshot } from './live-snapshot.js';
import { migrate } from './migrate.js';
import { reset } from './reset.js';
import type { Plays } from './scenario.js';
import { snapshotRestore } from './snapshot-restore.js';

export const PLAYS: Plays = {
  boot,
  reset,
  'cold-start': coldStart,
  'snapshot-restore': snapshotRestore,
  'live-snapshot': liveSnapshot,
  migrate,
};
