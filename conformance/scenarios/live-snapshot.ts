/**
 * live-snapshot: the guest is saved while it runs and dumps; it goes on, and two new processes go on from the one image, the second of them from
 * the mapped file; on another host where the path has two.
 */
import { join } from 'node:path';
import { bootSteps, lastBootStep } from './boot.js';
import type { Stage, Step } from './scenario.js';

export async function* liveSnapshot(stage: Stage): AsyncGenerator<Step> {
  const [first, second = first] = stage.hosts;
  const file = join(stage.folder, 'guest.snapshot');
  const like = { step: lastBootStep(stage), sameBoot: true };
  let carried: string | null = null;
  {
    await using session = await first!.warm();
    yield* bootSteps(session.agent, stage);
    yield { name: 'while-saved', outcome: await session.agent.call('save-live', { file }), like };
    yield { name: 'after-save', outcome: await session.agent.call('command', { command: 'dump' }), like };
    if (second !== first) {
      carried = (await session.agent.call('fetch', { file })).gzip;
      await session.agent.call('remove', { file });
    }
  }
  for (const [name, lazy] of [
    ['restore', false],
    ['restore-again', true],
  ] as const) {
    await using session = await (second === first ? second!.open() : second!.warm());
    if (carried !== null && !lazy) await session.agent.call('put', { file, gzip: carried });
    yield { name, outcome: await session.agent.call('restore', { ...stage.request, file, lazy }), like };
    if (lazy) await session.agent.call('remove', { file });
  }
}
