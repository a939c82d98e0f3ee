/** All measurements, in the order of the table. A new one is a file that exports a `Measurement`, and a name here. */
import { gateProcess } from './gate-process.js';
import { migration } from './migration.js';
import { probeLatency } from './probe-latency.js';
import { resolving } from './resolving.js';
import { restoring } from './restore.js';
import type { Measurement } from './row.js';
import { snapshots } from './snapshots.js';
import { labRuns, localRuns, wholeRelease } from './verify-runs.js';

export const MEASUREMENTS: readonly Measurement[] = [
  probeLatency,
  resolving,
  gateProcess,
  localRuns,
  wholeRelease,
  migration,
  snapshots,
  restoring,
  labRuns,
];
