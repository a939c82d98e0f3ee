/** All QMP commands of a machine under control. */
import type { Definitions } from '../../corpora/definitions.js';
import { hostCapabilities } from '../kvm/capabilities.js';
import type { ControlledMachine } from './controlled-machine.js';
import { cpuCommands } from './cpu-commands.js';
import { Jobs } from './jobs.js';
import { MigrationControl } from './migration-commands.js';
import type { QmpServer } from './qmp-server.js';
import { runStateCommands } from './run-state-commands.js';
import { type MachineMaker, snapshotCommands } from './snapshot-commands.js';

export interface ControlOptions {
  /** As `-name` gives it. */
  readonly name: string | null;
  readonly definitions: Definitions;
  readonly maker: MachineMaker;
}

/** Lets the server's clients control the machine. Dispose the result before the machine. */
export function controlMachine(
  server: QmpServer,
  machine: ControlledMachine,
  { name, definitions, maker }: ControlOptions,
): AsyncDisposable {
  const jobs = new Jobs(server.emit);
  const migration = new MigrationControl(machine, server.emit);
  server.serve({
    ...runStateCommands(machine, name),
    ...cpuCommands(machine, definitions, hostCapabilities(maker.kvm)),
    ...migration.commands,
    ...snapshotCommands(machine, jobs, maker, migration),
    ...jobs.commands,
  });
  return migration;
}
