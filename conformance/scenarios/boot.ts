/** boot: the guest dumps as found, then once more with OSXSAVE and XCR0 set. */
import type { AgentClient } from '../hosts/agent/client.js';
import type { Stage, Step } from './scenario.js';

export async function* boot(stage: Stage): AsyncGenerator<Step> {
  await using session = await stage.hosts[0]!.warm();
  yield* bootSteps(session.agent, stage);
}

/** The first steps of every life. */
export async function* bootSteps(agent: AgentClient, stage: Stage): AsyncGenerator<Step> {
  yield { name: 'boot', outcome: await agent.call('boot', stage.request) };
  if (stage.xgetbv)
    yield { name: 'xcr0', outcome: await agent.call('command', { command: 'dump-xcr0' }), after: 'boot' };
}

/** Their names. */
export const bootStepNames = (stage: Stage): readonly string[] => (stage.xgetbv ? ['boot', 'xcr0'] : ['boot']);

/** The name of the last of them: what a guest that moves must show again. */
export const lastBootStep = (stage: Stage): string => bootStepNames(stage).at(-1)!;
