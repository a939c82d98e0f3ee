/** Scenarios of a QEMU's guests: those of every guest, and each of QEMU's own ways to keep one. */
import { join } from 'node:path';
import { GuestAbiError } from '../../../corpora/errors.js';
import { reason } from '../../../corpora/verdict.js';
import { SNAPSHOT_WAYS, type SnapshotWay } from '../../hosts/agent/protocol.js';
import type { AgentSession } from '../../hosts/host.js';
import { bootStepNames, bootSteps, lastBootStep } from '../../scenarios/boot.js';
import { DUE } from '../../scenarios/due.js';
import { PLAYS } from '../../scenarios/index.js';
import { reset } from '../../scenarios/reset.js';
import type { Plays, Stage, Step } from '../../scenarios/scenario.js';

export const QEMU_PLAYS: Plays = { ...PLAYS, reset: resetOfBoard, 'snapshot-restore': snapshotRestore };

/** What their lives show at least. */
export const QEMU_DUE: typeof DUE = {
  ...DUE,
  reset: (stage) => (isMicrovm(stage) ? [...bootStepNames(stage), 'triple-fault'] : DUE.reset(stage)),
  'snapshot-restore': (stage) =>
    SNAPSHOT_WAYS.flatMap((way) =>
      [...bootStepNames(stage), way === 'disk' ? 'after' : 'restore'].map((name) => `${way}-${name}`),
    ),
};

const isMicrovm = ({ request }: Stage): boolean => request.identity.machine.startsWith('microvm');

/**
 * microvm has no reset ports and no INIT that firmware takes for a reset: only the triple fault. The BIOS of Debian's QEMU 5.2 (SeaBIOS 1.14) never comes back
 * from a reset of a q35: it finds no bridge to unlock its memory, and resets again, without end.
 */
async function* resetOfBoard(stage: Stage): AsyncGenerator<Step> {
  if (!isMicrovm(stage)) {
    const isOld = stage.hosts[0]!.subject?.emulator === '5.2';
    return yield* reset(isOld ? { ...stage, request: { ...stage.request, smallFirmware: true } } : stage);
  }
  await using session = await stage.hosts[0]!.warm();
  yield* bootSteps(session.agent, stage);
  yield {
    name: 'triple-fault',
    outcome: await session.agent.call('command', { command: 'triple-fault' }),
    like: { step: 'boot', sameBoot: false },
  };
}

/** One life for each way; a new process goes on from what was kept, on the second host where the path has two. */
async function* snapshotRestore(stage: Stage): AsyncGenerator<Step> {
  for (const way of SNAPSHOT_WAYS) yield* kept(stage, way);
}

async function* kept(stage: Stage, way: SnapshotWay): AsyncGenerator<Step> {
  const [first, second = first] = stage.hosts;
  const like = { step: `${way}-${lastBootStep(stage)}`, sameBoot: true };
  const file = join(stage.folder, `${way}.snapshot`);
  let carried: string | null = null;
  {
    await using session = await first!.warm();
    for await (const { name, after, ...step } of bootSteps(session.agent, stage))
      yield { ...step, name: `${way}-${name}`, ...(after && { after: `${way}-${after}` }) };
    const refusal = await save(session, file, way);
    if (refusal) return yield refusal;
    if (way === 'disk') {
      const outcome = await session.agent.call('command', { command: 'dump' });
      return yield { name: 'disk-after', outcome, like };
    }
    if (second !== first && !second!.concurrent) carried = (await session.agent.call('fetch', { file })).gzip;
  }
  await using session = await second!.open();
  if (carried !== null) await session.agent.call('put', { file, gzip: carried });
  yield { name: `${way}-restore`, outcome: await session.agent.call('restore', { ...stage.request, file }), like };
}

/** Null where the guest was kept; where QEMU would not, the step that says so. */
async function save({ agent }: AgentSession, file: string, way: SnapshotWay): Promise<Step | null> {
  try {
    await agent.call('save', { file, way });
    return null;
  } catch (error) {
    if (!(error instanceof GuestAbiError) || !error.code.startsWith('qemu-')) throw error;
    const why = reason({ code: error.code, step: way, layer: 'monitor', message: error.message });
    return { name: `${way}-save`, outcome: { kind: 'refused', reasons: [why] } };
  }
}
