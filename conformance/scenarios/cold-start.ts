/** cold-start: the guest ends, and starts again in a new process. */
import { bootSteps } from './boot.js';
import type { Stage, Step } from './scenario.js';

export async function* coldStart(stage: Stage): AsyncGenerator<Step> {
  for (const life of ['first', 'second']) {
    await using session = await (life === 'first' ? stage.hosts[0]!.warm() : stage.hosts[0]!.open());
    for await (const step of bootSteps(session.agent, stage))
      yield life === 'first'
        ? step
        : { ...step, name: `cold-${step.name}`, like: { step: step.name, sameBoot: false } };
  }
}
