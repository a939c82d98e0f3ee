/** snapshot-restore: the state goes to a file, and a new process goes on from it; on another host where the path has two. */
import { join } from 'node:path';
import { bootSteps, lastBootStep } from './boot.js';
import type { Stage, Step } from './scenario.js';

export async function* snapshotRestore(stage: Stage): AsyncGenerator<Step> {
  const [first, second = first] = stage.hosts;
  const file = join(stage.folder, 'guest.snapshot');
  let carried: string | null = null;
  {
    await using session = await first!.warm();
    yield* bootSteps(session.agent, stage);
    await session.agent.call('save', { file });
    if (second !== first) {
      carried = (await session.agent.call('fetch', { file })).gzip;
      await session.agent.call('remove', { file });
    }
  }
  await using session = await (second === first ? second!.open() : second!.warm());
  if (carried !== null) await session.agent.call('put', { file, gzip: carried });
  const outcome = await session.agent.call('restore', { ...stage.request, file });
  await session.agent.call('remove', { file });
  yield {
    name: 'restore',
    outcome,
    like: { step: lastBootStep(stage), sameBoot: true },
  };
}
