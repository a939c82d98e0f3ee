/** reset: the guest asks for it by both ports, triple fault and (through its APIC) INIT, in the same VM. */
import { bootSteps } from './boot.js';
import type { Stage, Step } from './scenario.js';

export async function* reset(stage: Stage): AsyncGenerator<Step> {
  await using session = await stage.hosts[0]!.warm();
  yield* bootSteps(session.agent, stage);
  for (const command of [
    'reset-port',
    'reset-keyboard',
    'triple-fault',
    ...(stage.apic ? ['init' as const] : []),
  ] as const)
    yield {
      name: command,
      outcome: await session.agent.call('command', { command }),
      like: { step: 'boot', sameBoot: false },
    };
}
