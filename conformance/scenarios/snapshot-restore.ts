/** snapshot-restore: the state goes to a file, and another process goes on from it; on another host where the path has two. */
import { join } from 'node:path';
import type { AgentClient } from '../hosts/agent/client.js';
import { bootSteps, lastBootStep } from './boot.js';
import type { Stage, Step } from './scenario.js';

export async function* snapshotRestore(stage: Stage): AsyncGenerator<Step> {
  const [first, second = first] = stage.hosts;
  const file = join(stage.folder, 'guest.snapshot');
  await using source = await first!.warm();
  yield* bootSteps(source.agent, stage);
  await source.agent.call('save', { file });
  const carried = second === first ? null : await carry(source.agent, file);
  await source.agent.call('close', {});
  // Another process, since the source's is still in use.
  await using session = await second!.warm();
  if (carried !== null) await session.agent.call('put', { file, gzip: carried });
  const outcome = await session.agent.call('restore', { ...stage.request, file });
  await session.agent.call('remove', { file });
  yield {
    name: 'restore',
    outcome,
    like: { step: lastBootStep(stage), sameBoot: true },
  };
}

/** Takes a file away from an agent's host. */
export async function carry(agent: AgentClient, file: string): Promise<string> {
  const { gzip } = await agent.call('fetch', { file });
  await agent.call('remove', { file });
  return gzip;
}
