/** Guests that go from one QEMU release to another under TCG: what only the emulators differ in is taken out of what they see there. */
import type { CpuIdentity } from '../../../corpora/identity.js';
import { vcpuObservationFromJson, vcpuObservationToJson } from '../../../corpora/observation.js';
import type { Outcome } from '../../hosts/agent/protocol.js';
import type { Host } from '../../hosts/host.js';
import { hostOfStep } from '../../scenarios/host-of-step.js';
import type { Step } from '../../scenarios/scenario.js';
import { underEmulator } from './emulator.js';
import { identityUnder } from './expectation.js';

/** The steps with each dump as the emulator of the path's first host would have shown it. */
export async function* asFirstEmulator(
  steps: AsyncIterable<Step>,
  identity: CpuIdentity,
  hosts: readonly Host[],
): AsyncGenerator<Step> {
  const { emulator } = hosts[0]!.subject!;
  const under = (host: Host): CpuIdentity => identityUnder(identity, host.subject!, host, undefined, emulator);
  for await (const step of steps) {
    const host = hosts[hostOfStep(step.name, hosts.length)]!;
    const moved = host.subject!.emulator !== emulator;
    yield moved
      ? { ...step, outcome: shownAs(step.outcome, under(hosts[0]!), under(host), host.subject!.accel) }
      : step;
  }
}

function shownAs(outcome: Outcome, ours: CpuIdentity, theirs: CpuIdentity, accel: 'tcg' | 'kvm'): Outcome {
  if (outcome.kind !== 'running') return outcome;
  const vcpus = outcome.vcpus
    .map(vcpuObservationFromJson)
    .map((seen, i) => underEmulator(seen, ours.vcpus[i]!, theirs.vcpus[i]!, accel));
  return { ...outcome, vcpus: structuredClone(vcpus.map(vcpuObservationToJson)) as never };
}
