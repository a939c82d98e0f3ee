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

const EFER = 0xc0000080;
const LME = 1n << 8n;

/**
 * The host, whose kernel takes one bit more of IA32_PAT, and lets the guest write one MSR that is not its own; a guest that sets EFER.LME would bring it
 * down. `noted` gets the values written to EFER.
 */
function lenient(host: Host, noted: bigint[]): Host {
  const session = async (): Promise<AgentSession> => {
    const real = await host.warm();
    const agent = new Proxy(real.agent, {
      get: (client, name) =>
        name !== 'call'
          ? Reflect.get(client, name)
          : async (op: 'write-msr', params: { index: string; value: string }, deadline: number) => {
              if (op === 'write-msr' && Number(params.index) === EFER) noted.push(BigInt(params.value));
              const end = await client.call(op, params, deadline);
              const faulted = op === 'write-msr' && 'written' in end && end.written === '#GP';
              return faulted && ['0x00000277', '0xc0010130'].includes(params.index)
                ? { ...end, written: params.value }
                : end;
            },
    });
    return { ...real, agent, [Symbol.asyncDispose]: () => real[Symbol.asyncDispose]() };
  };
  const { summary, capabilities } = host;
  return { ...host, summary, capabilities, deadlyMsrBits: new Map([[EFER, LME]]), warm: session } as Host;
}

void t.test(
  'a write that should fault and does not is found; bits that bring down the host are left out and named',
  needsKvm,
  async (t) => {
    await using host = await openLocalHost();
    const noted: bigint[] = [];
    const identity = resolve({ machine: 'pc-i440fx-7.2', cpu: 'Opteron_G1' });
    const swept = await sweepWrites(lenient(host, noted), identity, 'cheap');
    t.ok(noted.length > 3 && noted.every((value) => (value & LME) === 0n));
    t.match(
      swept.filter(({ untried }) => untried !== 0n),
      [{ index: EFER, untried: LME }],
    );
    t.match(
      swept.filter(({ findings }) => findings.length > 0),
      [
        { index: 0x277, findings: [/was taken, must fault/] },
        { index: 0xc0010130, findings: ['is not of this CPU, and a write of 0 was taken'] },
      ],
    );
  },
);
