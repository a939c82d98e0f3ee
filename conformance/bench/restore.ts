/** Restoring beside QEMU: from the start of a new process on a saved image to the first dump of its guest, decoded and checked. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestAbiError, MachineError } from '../../corpora/errors.js';
import { identityToJson } from '../../corpora/identity.js';
import { COMMAND } from '../../corpora/probe-abi.js';
import { parseSmp } from '../../corpora/smp.js';
import type { Accelerator } from '../../reference-vmm/cpu-model/properties.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { outcomeText } from '../hosts/agent/outcome-text.js';
import type { Outcome, Params } from '../hosts/agent/protocol.js';
import { localSocket } from '../hosts/bridge.js';
import { openChildAgent } from '../hosts/child-agent.js';
import { AGENT } from '../hosts/local.js';
import { cachedQemu, type QemuLauncher } from '../packages/qemu-trees.js';
import { QemuGuest } from '../subjects/qemu/guest.js';
import { RELEASE, SIZES } from './beating-guest.js';
import { beside, held, type Measurement, type Row } from './row.js';

const ROUNDS = 7;
const DUMP = Uint8Array.of(COMMAND.dump);

/** Makes an image of a guest of `memory` MiB, then gives the milliseconds of one restore of it. */
type Subject = (file: string, memory: number) => Promise<() => Promise<number>>;

export const restoring: Measurement = {
  name: 'restore',
  rows: async () => {
    const rows: Row[] = [];
    for (const accel of ['tcg', 'kvm'] as const)
      try {
        rows.push(...(await restoreBench(ROUNDS, SIZES, accel)));
      } catch (error) {
        if (!(error instanceof GuestAbiError)) throw error;
        console.error(`bench: restore beside QEMU under ${accel}: ${error.message}`);
      }
    return rows;
  },
};

/** One row for each size; rounds of both sides take turns. Throws `MachineError` `bench-no-qemu` where QEMU is not in the cache. */
export async function restoreBench(rounds: number, sizes: readonly number[], accel: Accelerator): Promise<Row[]> {
  const launcher = await cachedQemu(RELEASE);
  if (!launcher) throw new MachineError('bench-no-qemu', `QEMU ${RELEASE} is not in the cache: guest-abi lab setup`);
  const folder = await mkdtemp(join(tmpdir(), 'guest-abi-bench-'));
  const rows: Row[] = [];
  try {
    for (const memory of sizes) {
      const file = (side: string): string => join(folder, `${side}-${memory}`);
      const sides = [await reference(file('ours'), memory), await qemu(launcher, accel)(file('qemu'), memory)] as const;
      const times = await beside(sides, rounds, async (restore) => ({ restore: await restore() }));
      const { ours, qemu: theirs } = times('restore');
      rows.push(
        held(
          {
            id: `restore-to-dump-${memory}-${accel}`,
            what: `restore, from the start of a process to its first dump, of the cpu-state probe in ${memory} MiB`,
            ...{ unit: 'ms', value: ours, goal: { kind: 'at-most', value: 1 } },
          },
          `QEMU ${RELEASE} (${accel})`,
          theirs,
        ),
      );
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  return rows;
}

const reference: Subject = async (file, memory) => {
  const identity = structuredClone(identityToJson(resolve({ machine: 'pc-i440fx-2.4', cpu: 'Nehalem' }))) as never;
  const request: Params<'boot'> = { identity, allowAltered: true, forceFeatures: true, msrs: [], fault: null, memory };
  const open = () => openChildAgent([process.execPath, AGENT], localSocket);
  {
    await using session = await open();
    dumped(await session.agent.call('boot', request));
    await session.agent.call('save', { file });
  }
  return async () => {
    const start = performance.now();
    await using session = await open();
    dumped(await session.agent.call('restore', { ...request, file, lazy: true }));
    return performance.now() - start;
  };
};

const qemu =
  (launcher: QemuLauncher, accel: Accelerator): Subject =>
  async (file, memory) => {
    const request = { machine: 'pc', cpu: 'Nehalem', smp: parseSmp('1'), accel, memory, msrs: [], apicIds: [] };
    {
      await using guest = await QemuGuest.start(launcher, request);
      dumped(await guest.boot());
      mustHold(await guest.migrate(`file:${file}`));
    }
    return async () => {
      const start = performance.now();
      await using guest = await QemuGuest.start(launcher, { ...request, incoming: true });
      mustHold(await guest.listen(`file:${file}`));
      mustHold(await guest.arrived());
      dumped(await guest.goOn(DUMP));
      return performance.now() - start;
    };
  };

function dumped(outcome: Outcome): void {
  if (outcome.kind !== 'running') throw new MachineError('bench-restore', outcomeText(outcome));
}

function mustHold(complaint: { readonly message: string } | null): void {
  if (complaint) throw new MachineError('bench-restore', complaint.message);
}
