/** The read sweep on this machine's KVM: guests read what their identity has, and a kernel that answers otherwise is found. */
import t from 'tap';
import { resolve } from '../reference-vmm/cpu-model/resolve.js';
import { needsKvm } from '../reference-vmm/fixtures.js';
import type { Outcome } from './hosts/agent/protocol.js';
import type { AgentSession, Host } from './hosts/host.js';
import { openLocalHost } from './hosts/local.js';
import { sweepReads, sweptMsrs } from './msr-reads.js';

type Msr = Extract<Outcome, { kind: 'running' }>['vcpus'][number]['msrs'][number];

/** The host, whose kernel answers the MSRs of `answers` so. */
function lying(host: Host, answers: Readonly<Record<string, object>>): Host {
  const answered = (msr: Msr): object => ({
    ...(answers[msr.index] ? { index: msr.index } : msr),
    ...answers[msr.index],
  });
  const warm = async (): Promise<AgentSession> => {
    const real = await host.warm();
    const call = async (...args: Parameters<AgentSession['agent']['call']>) => {
      const end = (await real.agent.call(...args)) as Extract<Outcome, { kind: 'running' }>;
      return { ...end, vcpus: end.vcpus.map((vcpu) => ({ ...vcpu, msrs: vcpu.msrs.map(answered) })) };
    };
    const agent = { call } as unknown as AgentSession['agent'];
    return { ...real, agent, [Symbol.asyncDispose]: () => real[Symbol.asyncDispose]() };
  };
  return { ...host, summary: host.summary, capabilities: host.capabilities, warm } as Host;
}

void t.test('what reads and what faults is the identity, and each MSR that is not is named', needsKvm, async (t) => {
  await using host = await openLocalHost();
  const identity = resolve({ machine: 'pc-i440fx-7.2', cpu: 'Nehalem' });
  const honest = await sweepReads(host, identity, sweptMsrs('cheap'));
  t.same(honest.findings, []);
  t.match(
    [0x277, 0xc0010130, 0x10].map((index) => honest.seen.get(index)),
    ['0x0007040600070406', '#GP', 'varies'],
  );
  const liar = lying(host, {
    '0x000000fe': { fault: '#GP' },
    '0x00000277': { value: '0x0000000000000006' },
    '0xc0010130': { value: '0x0000000000000000' },
  });
  t.same((await sweepReads(liar, identity, sweptMsrs('cheap'))).findings, [
    'MSR 0x000000fe (IA32_MTRRCAP): reads #GP, must 0x0000000000000508',
    'MSR 0x00000277 (IA32_PAT): reads 0x0000000000000006, must 0x0007040600070406',
    'MSR 0xc0010130 (GHCB): reads 0x0000000000000000, must #GP',
  ]);
});

void t.test('the expensive sweep also reads every index of the ranges', async (t) => {
  const indices = sweptMsrs('expensive');
  t.same([indices[0], indices.length > 29_000, new Set(indices).size], [0, true, indices.length]);
  for (const index of [0x1fff, 0x400001ff, 0x4b564dff, 0xc0002fff, 0xc0011fff]) t.ok(indices.includes(index));
});
