/**
 * QMP commands of snapshots, shaped as QEMU's: `snapshot-save`, `-load` and `-delete` are jobs on a stopped guest. QEMU keeps them by their tag in the
 * disk image that `vmstate` names; this monitor has no disks yet: `vmstate` and `devices` name the folder that holds them.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Kvm } from '../kvm/kvm.js';
import { LiveMachine } from '../live-machine.js';
import { writeSnapshot } from '../snapshot/file.js';
import { type RestoreOptions, restoreSnapshot } from '../snapshot/restore.js';
import type { ControlledMachine } from './controlled-machine.js';
import type { Jobs } from './jobs.js';
import type { MigrationControl } from './migration-commands.js';
import type { Shape } from './qmp-arguments.js';
import { command, type QmpCommands } from './qmp-command.js';
import { QmpError } from './qmp-error.js';

/** What makes machines beside the one under control. */
export interface MachineMaker {
  readonly kvm: Kvm;
  readonly options: RestoreOptions;
}

interface Given {
  readonly 'job-id': string;
  readonly tag: string;
  readonly vmstate: string;
  readonly devices: readonly string[];
}

const NODES: Shape = { 'job-id': 'string', tag: 'string', devices: { list: 'string' } };
const STATE: Shape = { ...NODES, vmstate: 'string' };

export function snapshotCommands(
  machine: ControlledMachine,
  jobs: Jobs,
  maker: MachineMaker,
  migration: Pick<MigrationControl, 'isActive'>,
): QmpCommands {
  const job = (type: string, takes: Shape, folderOf: (given: Given) => string, work: (file: string) => unknown) =>
    command(takes, (given: Given) => {
      // A migration holds the machine that a load would put another in place of.
      if (migration.isActive) throw new QmpError("There's a migration process in progress");
      const folder = folderOf(given);
      checkTag(given.tag);
      jobs.start(given['job-id'], type, async () => void (await work(fileIn(folder, given.tag))));
    });
  return {
    'snapshot-save': job('snapshot-save', STATE, stateFolder, (file) =>
      machine.whileStopped('save-vm', () => writeSnapshot(file, machine.live.machine.saveState())),
    ),
    'snapshot-load': job('snapshot-load', STATE, stateFolder, (file) =>
      machine.whileStopped('restore-vm', () => machine.replace(restored(file, maker))),
    ),
    'snapshot-delete': job('snapshot-delete', NODES, ({ devices: [folder = ''] }) => folder, rmSync),
  };
}

/** QEMU wants `vmstate` among the devices; there are no others here. */
function stateFolder({ vmstate, devices }: Given): string {
  const strange = devices.find((device) => device !== vmstate);
  if (strange !== undefined) throw new QmpError(`Device '${strange}' not found`, 'DeviceNotFound');
  return vmstate;
}

function checkTag(tag: string): void {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(tag))
    throw new QmpError(`Parameter 'tag' expects letters, digits, '.', '_' and '-', not '${tag}'`);
}

const fileIn = (folder: string, tag: string): string => join(folder, `${tag}.snapshot`);

/** Throws `QmpError` with the reasons where the machine of the file cannot be had here. */
function restored(file: string, { kvm, options }: MachineMaker): LiveMachine {
  const creation = restoreSnapshot(kvm, file, options);
  if (creation.kind === 'created') return new LiveMachine(creation.machine);
  throw new QmpError(creation.reasons.map(({ message }) => message).join('; '));
}
