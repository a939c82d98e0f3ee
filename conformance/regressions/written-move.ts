/** A life that loses nothing unseen: the guest writes what it may write, and goes on in another machine: from its saved state, or migrated live. */
import { join } from 'node:path';
import { hex32 } from '../../corpora/hex.js';
import { type CpuIdentity, type MsrValue, msrToJson } from '../../corpora/identity.js';
import type { WrittenLife } from '../../corpora/regressions.js';
import { effectsOf } from '../../reference-vmm/cpu-model/msr-values.js';
import type { AgentClient } from '../hosts/agent/client.js';
import type { Params } from '../hosts/agent/protocol.js';
import { bootSteps, lastBootStep } from '../scenarios/boot.js';
import type { MsrWrite, Play, Stage, Step } from '../scenarios/scenario.js';

/** In guest memory that the probe leaves alone; not enabled, so that the kernel only keeps the address. */
const UNUSED = 0x3ff000n;

/** What guests write: values that a CPU which has the MSR keeps to the bit, and that no reset value is. `step`: from vCPU to vCPU, where no two hold the same. */
const WRITES: readonly (MsrValue & { readonly step?: bigint })[] = [
  { index: 0x174, value: 0x10n, step: 8n },
  { index: 0x175, value: 0x12345670n, step: 0x1000n },
  { index: 0x176, value: 0x23456780n, step: 0x1000n },
  { index: 0x1a0, value: 0x400009n },
  { index: 0x200, value: 0xf0000006n, step: 0x1000n },
  { index: 0x201, value: 0xff0000800n },
  { index: 0x277, value: 0x0007010600070401n },
  { index: 0x2ff, value: 0xc06n },
  { index: 0x4b564d01, value: UNUSED },
  { index: 0x4b564d02, value: UNUSED },
  { index: 0x4b564d03, value: UNUSED, step: 0x40n },
  { index: 0x4b564d04, value: UNUSED, step: 0x40n },
  { index: 0x4b564d05, value: 0n },
  { index: 0x4b564d06, value: 0xf3n },
  { index: 0xc0000081, value: 0x0023001000000000n, step: 1n << 48n },
  { index: 0xc0000082, value: 0xffffffff81000000n, step: 0x1000n },
  { index: 0xc0000083, value: 0xffffffff81001000n, step: 0x1000n },
  { index: 0xc0000084, value: 0x47700n },
  { index: 0xc0000102, value: 0xffff888000000000n, step: 0x1000n },
  { index: 0xc0000103, value: 7n, step: 1n },
  { index: 0xc0010015, value: 0x1000000n },
];

const IA32_APIC_BASE = 0x1b;
const X2APIC_LVT_TIMER = 0x832;
const IA32_TSC_DEADLINE = 0x6e0;

/** Arms a deadline that never comes: x2APIC mode, the timer's vector masked and in deadline mode (SDM vol. 3A 11.5.4.1). */
const ARMS_DEADLINE: readonly MsrValue[] = [
  { index: IA32_APIC_BASE, value: 0xfee00d00n },
  { index: X2APIC_LVT_TIMER, value: 0x500ffn },
  { index: IA32_TSC_DEADLINE, value: 1n << 56n },
];

function writesOf({ msrs, features, vcpus }: CpuIdentity, asked: ReadonlySet<number>): readonly MsrWrite[] {
  const own = WRITES.filter(({ index }) => asked.has(index) && msrs.some((msr) => msr.index === index));
  // In x2APIC mode a probe does not reach its other vCPUs.
  const armed = vcpus.length === 1 && features.includes('x2apic') && features.includes('tsc-deadline');
  return [
    ...own.flatMap(({ index, value, step }) => [
      { index, value },
      ...vcpus.slice(step === undefined ? vcpus.length : 1).map(({ index: vcpu }) => ({
        ...{ index, value: value + BigInt(vcpu) * step!, vcpu },
      })),
    ]),
    ...(armed ? ARMS_DEADLINE : []),
  ];
}

/** What a mutant makes otherwise on the way. */
export interface Way {
  /** As whom the destination expects the guest; default: as it left. */
  readonly arrivesAs?: Params<'boot'>['identity'];
  /** What becomes of the file with the state. */
  readonly file?: (file: string) => void;
  /** Listens at one socket for what goes to the other. */
  readonly link?: (at: string, to: string) => Promise<AsyncDisposable>;
}

/** The last host of the path is the destination; all of them are in this process. */
export const writtenMove = (identity: CpuIdentity, life: WrittenLife, way: Way = {}): Play =>
  async function* (stage: Stage): AsyncGenerator<Step> {
    await using source = await stage.hosts[0]!.open();
    const { step, wrote } = yield* writtenGuest(identity, stage, source.agent);
    const like = { step, sameBoot: true };
    await using destination = await stage.hosts.at(-1)!.open();
    const request = { ...stage.request, identity: way.arrivesAs ?? stage.request.identity };
    if (life === 'written-migrate') {
      const socket = join(stage.folder, 'move.sock');
      await destination.agent.call('listen', { ...request, socket });
      const at = `${socket}.relay`;
      await using relayed = (await way.link?.(at, socket)) ?? null;
      const sent = await source.agent.call('send', { socket: relayed ? at : socket });
      if (sent.kind !== 'sent' && sent.kind !== 'stayed') yield { name: 'source', outcome: sent };
      yield { name: 'destination', outcome: await destination.agent.call('received', {}), like, wrote };
      return;
    }
    const file = join(stage.folder, 'guest.snapshot');
    if (life === 'written-move') await source.agent.call('save', { file });
    else yield { name: 'while-saved', outcome: await source.agent.call('save-live', { file }), like, wrote };
    way.file?.(file);
    await source.agent.call('close', {});
    yield { name: 'restore', outcome: await destination.agent.call('restore', { ...request, file }), like, wrote };
  };

/** Boots, and writes. Gives what was written and the name of the last step. */
async function* writtenGuest(
  identity: CpuIdentity,
  stage: Stage,
  agent: AgentClient,
): AsyncGenerator<Step, { readonly step: string; readonly wrote: readonly MsrWrite[] }> {
  yield* bootSteps(agent, stage);
  const asked = new Set(stage.request.msrs.map(Number));
  const wrote: MsrWrite[] = [];
  let step = lastBootStep(stage);
  for (const { vcpu, ...msr } of writesOf(identity, asked)) {
    const on = vcpu === undefined ? {} : { vcpu };
    wrote.push(...effectsOf(msr).map((effect) => ({ ...effect, ...on })));
    step = `write-${hex32(msr.index)}${vcpu === undefined ? '' : `-on-${vcpu}`}`;
    const outcome = await agent.call('write-msr', { ...msrToJson(msr), ...on });
    yield { name: step, outcome, wrote: [...wrote] };
  }
  return { step, wrote };
}
