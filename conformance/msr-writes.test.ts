/** The write sweep on this machine's KVM: writes do what the manuals say, what is not of the CPU faults, and a kernel that does otherwise is found. */
import t from 'tap';
import { resolve } from '../reference-vmm/cpu-model/resolve.js';
import { needsKvm } from '../reference-vmm/fixtures.js';
import type { AgentSession, Host } from './hosts/host.js';
import { openLocalHost } from './hosts/local.js';
import { type SweptMsr, sweepWrites } from './msr-writes.js';

const findingsOf = (swept: readonly SweptMsr[]) =>
  swept.flatMap(({ index, findings }) => findings.map((finding) => `${index.toString(16)}: ${finding}`));

void t.test('every write to every MSR of an Intel and an AMD CPU does what the manuals say', needsKvm, async (t) => {
  await using host = await openLocalHost();
  for (const cpu of ['Nehalem', 'Opteron_G1']) {
    const swept = await sweepWrites(host, resolve({ machine: 'pc-i440fx-7.2', cpu }), 'cheap');
    t.same(findingsOf(swept), [], cpu);
    const sum = (of: (msr: SweptMsr) => number): number => swept.reduce((total, msr) => total + of(msr), 0);
    t.ok(sum(({ writes }) => writes) > 500 && sum(({ faults }) => faults) > 100, `${cpu}: ${swept.length} MSRs`);
  }
});

/** The host, whose kernel takes one bit more of SYSENTER_CS, and lets the guest write one MSR that is not its own. */
function lenient(host: Host): Host {
  const session = async (): Promise<AgentSession> => {
    const real = await host.warm();
    const agent = new Proxy(real.agent, {
      get: (client, name) =>
        name !== 'call'
          ? Reflect.get(client, name)
          : async (op: 'write-msr', params: { index: string; value: string }, deadline: number) => {
              const end = await client.call(op, params, deadline);
              const faulted = op === 'write-msr' && 'written' in end && end.written === '#GP';
              return faulted && ['0x00000277', '0xc0010130'].includes(params.index)
                ? { ...end, written: params.value }
                : end;
            },
    });
    return { ...real, agent, [Symbol.asyncDispose]: () => real[Symbol.asyncDispose]() };
  };
  return { ...host, summary: host.summary, capabilities: host.capabilities, warm: session } as Host;
}

void t.test('a write that should fault and does not is found, of the CPU or not', needsKvm, async (t) => {
  await using host = await openLocalHost();
  const swept = await sweepWrites(lenient(host), resolve({ machine: 'pc-i440fx-7.2', cpu: 'Opteron_G1' }), 'cheap');
  t.match(
    swept.filter(({ findings }) => findings.length > 0),
    [
      { index: 0x277, findings: [/was taken, must fault/] },
      { index: 0xc0010130, findings: ['is not of this CPU, and a write of 0 was taken'] },
    ],
  );
});
