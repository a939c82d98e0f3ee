/**
 * live-snapshot: the guest is saved while it runs and dumps; it goes on, and another process goes on from the one image, twice, the second time from the
 * mapped file; on another host where the path has two.
 */
import { join } from 'node:path';
import { bootSteps, lastBootStep } from './boot.js';
import type { Stage, Step } from './scenario.js';
import { carry } from './snapshot-restore.js';

export async function* liveSnapshot(stage: Stage): AsyncGenerator<Step> {
  const [first, second = first] = stage.hosts;
  const file = join(stage.folder, 'guest.snapshot');
  const like = { step: lastBootStep(stage), sameBoot: true };
  await using source = await first!.warm();
  yield* bootSteps(source.agent, stage);
  yield { name: 'while-saved', outcome: await source.agent.call('save-live', { file }), like };
  yield {
    name: 'after-save',
    outcome: await source.agent.call('command', { command: 'dump' }),
    like: { step: 'while-saved', sameBoot: true },
  };
  const carried = second === first ? null : await carry(source.agent, file);
  await source.agent.call('close', {});
  for (const [name, lazy] of [
    ['restore', false],
    ['restore-again', true],
  ] as const) {
    // Another process, since the source's is still in use.
    await using session = await second!.warm();
    if (carried !== null && !lazy) await session.agent.call('put', { file, gzip: carried });
    yield { name, outcome: await session.agent.call('restore', { ...stage.request, file, lazy }), like };
    if (lazy) await session.agent.call('remove', { file });
  }
}
