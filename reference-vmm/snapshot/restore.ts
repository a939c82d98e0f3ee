/** Makes a machine from a snapshot file: its memory read into it, or mapped, to be read when the guest touches it. */
import type { CpuIdentity } from '../../corpora/identity.js';
import type { Reason } from '../../corpora/verdict.js';
import type { Kvm } from '../kvm/kvm.js';
import { type Creation, Machine, type MachineOptions } from '../monitor.js';
import { SnapshotFile } from './file.js';

export interface RestoreOptions extends Omit<MachineOptions, 'memoryBytes' | 'memoryImage'> {
  /**
   * Maps the file. Every page is compared with its checksum before, holes aside unread; nobody may write to the file as long as the guest lives (a
   * new snapshot under its name is another file). Such a guest cannot be saved live.
   */
  readonly lazy?: boolean;
  /** What the machine is made of; a state of another one is refused then. Default: what the file says. */
  readonly identity?: CpuIdentity;
  /** Reasons why the identity of the file is not wanted here: nothing is made then. */
  readonly accept?: (identity: CpuIdentity) => readonly Reason[];
}

/**
 * A machine that goes on where the file was saved. Throws `InputError` `unreadable-file`, `ContainerError` on a cut, changed or foreign file, and as
 * `Machine.create` does. The file can be restored any number of times.
 */
export function restoreSnapshot(kvm: Kvm, file: string, options: RestoreOptions): Creation {
  const { lazy = false, accept = () => [], identity, ...rest } = options;
  using snapshot = new SnapshotFile(file);
  const { core } = snapshot;
  const unwanted = accept(core.identity);
  if (unwanted.length > 0) return { kind: 'refused', reasons: unwanted };
  const { memoryBytes } = core;
  // Before a VM is made: a guest must not begin on half a file.
  if (lazy) snapshot.check();
  const image = lazy ? { memoryImage: { fd: snapshot.fd, offset: snapshot.ramOffset } } : {};
  const arrivingMsrs = core.vcpus[0]?.msrs.map(({ index }) => index) ?? [];
  const creation = Machine.create(kvm, identity ?? core.identity, {
    ...{ step: 'restore', ...rest, memoryBytes, arrivingMsrs, ...image },
  });
  if (creation.kind === 'refused') return creation;
  try {
    const { machine } = creation;
    const reasons = machine.loadCore(core, () => {
      if (!lazy) snapshot.check(({ gpa, bytes }) => machine.memory.regions[0]!.bytes.set(bytes, gpa));
    });
    if (reasons.length === 0) return creation;
    machine[Symbol.dispose]();
    return { kind: 'refused', reasons };
  } catch (error) {
    creation.machine[Symbol.dispose]();
    throw error;
  }
}
