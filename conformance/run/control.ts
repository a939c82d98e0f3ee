/** The control: changes planted on purpose, on the real host, which must all be caught. A run whose control fails proves nothing. */
import { join } from 'node:path';
import { CpuidTable } from '../../corpora/cpuid.js';
import { hex32, hex64 } from '../../corpora/hex.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import { identityToJson } from '../../corpora/identity.js';
import type { Reason } from '../../corpora/verdict.js';
import { makeFolder, removeFolder } from '../ends-with-us.js';
import { FAULTY_MSR } from '../hosts/agent/faults.js';
import type { Params } from '../hosts/agent/protocol.js';
import type { Host } from '../hosts/host.js';
import type { Step } from '../scenarios/scenario.js';
import { brokenDefinitions } from './expectation.js';
import { type Judgement, judge } from './judge.js';

interface Plant {
  readonly name: string;
  readonly play: (host: Host, identity: CpuIdentity) => Promise<Judgement>;
  /** What the finding must name. */
  readonly finding: RegExp;
}

export interface PlantEnd {
  readonly plant: string;
  readonly caught: boolean;
  readonly finding: string;
}

/** Always observed with allowAltered, so that the control works on every host. */
const request = (identity: CpuIdentity, fault: Params<'boot'>['fault']): Params<'boot'> => ({
  identity: structuredClone(identityToJson(identity)) as never,
  allowAltered: true,
  forceFeatures: true,
  msrs: [],
  fault,
});

export const PLANTS: readonly Plant[] = [
  {
    name: 'a kernel that shows the guest one bit otherwise than it tells the monitor',
    play: (host, identity) => judge(bootOnce(host, request(identity, 'cpuid-shown-otherwise')), identity.vcpus),
    finding: /1\.EAX/,
  },
  {
    name: 'a definition edited so that the stepping differs from the contract',
    play: async (_host, identity) => changedBy(brokenDefinitions(identity.vcpus, withOtherStepping(identity))),
    finding: /1\.EAX/,
  },
  {
    name: 'a kernel that counts an MSR as restored and does not keep it',
    play: (host, identity) => judge(restoreOn(host, identity, 'msr-not-kept'), identity.vcpus),
    finding: /c0000081/,
  },
];

/** Plays every plant. */
export async function control(host: Host, identity: CpuIdentity): Promise<PlantEnd[]> {
  const ends: PlantEnd[] = [];
  for (const { name, play, finding } of PLANTS) {
    const { verdict, reasons } = await play(host, identity);
    const named = reasons.find(({ message }) => finding.test(message));
    const caught = named !== undefined && verdict !== 'identical' && verdict !== 'altered';
    ends.push({ plant: name, caught, finding: caught ? `${verdict}: ${named.message}` : `NOT CAUGHT: ${verdict}` });
  }
  return ends;
}

async function* bootOnce(host: Host, boot: Params<'boot'>): AsyncGenerator<Step> {
  await using session = await host.warm();
  yield { name: 'boot', outcome: await session.agent.call('boot', boot) };
}

async function* restoreOn(host: Host, identity: CpuIdentity, fault: Params<'boot'>['fault']): AsyncGenerator<Step> {
  await using session = await host.warm();
  const folder = makeFolder('guest-abi-');
  const file = join(folder, 'guest.snapshot');
  try {
    yield { name: 'boot', outcome: await session.agent.call('boot', request(identity, null)) };
    const written = await session.agent.call('write-msr', { index: hex32(FAULTY_MSR), value: hex64(WRITTEN) });
    yield { name: 'write', outcome: written };
    await session.agent.call('save', { file });
    yield { name: 'restore', outcome: await session.agent.call('restore', { ...request(identity, fault), file }) };
  } finally {
    removeFolder(folder);
  }
}

/** What the guest writes there before it moves. */
const WRITTEN = 0x0023001000000000n;

const changedBy = (reasons: readonly Reason[]): Judgement => ({
  verdict: reasons.length > 0 ? 'changed' : 'identical',
  ...{ reasons, forced: [], seen: [] },
});

const withOtherStepping = (identity: CpuIdentity): CpuIdentity => ({
  ...identity,
  vcpus: identity.vcpus.map((vcpu) => ({
    ...vcpu,
    cpuid: new CpuidTable(vcpu.cpuid.rows.map((row) => (row.leaf === 1 ? { ...row, eax: (row.eax ^ 1) >>> 0 } : row))),
  })),
});
