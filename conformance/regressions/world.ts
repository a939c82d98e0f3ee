/** The world of a mutant: definitions, a resolver, hosts and a way, of which one is wrong; and its twin, where all are right. */
import { PassThrough } from 'node:stream';
import { CpuidTable } from '../../corpora/cpuid.js';
import { Definitions } from '../../corpora/definitions.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { type CpuIdentity, identityToJson } from '../../corpora/identity.js';
import { parsePair } from '../../corpora/pair.js';
import type { Mutant, WrittenLife } from '../../corpora/regressions.js';
import type { CellResult, Scenario } from '../../corpora/verdict.js';
import { withAdditions } from '../../reference-vmm/cpu-model/additions.js';
import { isOpen } from '../../reference-vmm/cpu-model/msrs.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { hostCapabilities } from '../../reference-vmm/kvm/capabilities.js';
import type { Kvm } from '../../reference-vmm/kvm/kvm.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { kvmHandlers } from '../hosts/agent/handlers.js';
import { openAgentHere } from '../hosts/agent/here.js';
import type { AgentSession, Host } from '../hosts/host.js';
import { openCapture } from '../hosts/recorded/open-capture.js';
import { RecordedHost } from '../hosts/recorded/recorded-host.js';
import { summarizeHost } from '../hosts/summary.js';
import { runCell } from '../run/runner.js';
import { editedDefinitions } from './edits.js';
import { captureWith, kernelWith, shownBy } from './kernels.js';
import { monitorWith } from './monitors.js';
import { relay } from './relay.js';
import { ruled } from './rules.js';
import { rewriteStream, rewriteVcpu } from './streams.js';
import { type Way, writtenMove } from './written-move.js';

/** The capture that a host is made of which has all that a pair needs, and no more. */
const FITTING = 'EPYC-Genoa/6.12';

/** What a run of one pair came to. Who reads it knows nothing of the case. */
export type Found = Pick<CellResult, 'verdict' | 'reasons' | 'hosts' | 'scenario'>;

/** Plays one pair in the mutant's world; without `mutated`, in its twin. */
export async function playIn(mutant: Mutant, pair: string, mutated: boolean): Promise<Found> {
  const right = identityIn(new Definitions(), pair, mutant.smp, await hostOf(mutant));
  const host = isFitting(mutant) ? fitting(await hostOf(mutant), right) : await hostOf(mutant);
  const wrong = mutated ? mutatedIdentity(mutant, right, host, pair) : right;
  const { life = 'boot', at = null } = mutant;
  const elsewhere = at === 'destination';
  const own = makeHost(mutant, host, mutated && !elsewhere);
  const hosts = at ? [own, makeHost(mutant, host, mutated && elsewhere)] : pathOf(life, own);
  const way: Way = {
    ...(elsewhere && wrong !== right ? { arrivesAs: structuredClone(identityToJson(wrong)) as never } : {}),
    ...(mutated && mutant.kind === 'stream'
      ? {
          file: (file) => rewriteStream(file, mutant),
          link: (at, to) => relay(at, to, (payload) => rewriteVcpu(payload, mutant)),
        }
      : {}),
  };
  const identity = elsewhere ? right : wrong;
  const cell = { identity, smp: mutant.smp ?? '1', hosts, scenario: scenarioOf(life) };
  const { result } = await runCell(cell, {
    ...{ allowAltered: isLocal(mutant), forceFeatures: !isFitting(mutant), jobs: 1 },
    ...(isWritten(life) ? { play: writtenMove(identity, life, way) } : {}),
  });
  return result;
}

const isLocal = ({ host }: Mutant): boolean => host === 'local';
const isFitting = ({ host }: Mutant): boolean => host === undefined;
const SCENARIO: Readonly<Record<WrittenLife, Scenario>> = {
  'written-move': 'snapshot-restore',
  'written-live-save': 'live-snapshot',
  'written-migrate': 'migrate',
};
type Played = NonNullable<Mutant['life']>;
const isWritten = (life: Played): life is WrittenLife => Object.hasOwn(SCENARIO, life);
const scenarioOf = (life: Played): Scenario => (isWritten(life) ? SCENARIO[life] : life);
const pathOf = (life: Played, host: Host): Host[] => (scenarioOf(life) === 'migrate' ? [host, host] : [host]);

function identityIn(
  definitions: Definitions,
  pair: string,
  smp: string | undefined,
  host: HostCapabilities,
): CpuIdentity {
  const { machine, cpu } = parsePair(pair);
  const followsHost = isOpen({ machine, cpuModel: cpu.model });
  return resolve({
    machine,
    cpu,
    definitions,
    ...(smp === undefined ? {} : { smp }),
    ...(followsHost ? { host } : {}),
  });
}

function mutatedIdentity(mutant: Mutant, right: CpuIdentity, host: HostCapabilities, pair: string): CpuIdentity {
  if (mutant.kind === 'definition') return identityIn(editedDefinitions(mutant.edits), pair, mutant.smp, host);
  return mutant.kind === 'resolver' ? ruled(right, host, mutant) : right;
}

const known = new Map<string, HostCapabilities>();

/** Capabilities of the mutant's host before anything is wrong. Throws `MachineError` where there is no KVM. */
async function hostOf({ host: name = FITTING }: Mutant): Promise<HostCapabilities> {
  const before = known.get(name);
  if (before) return before;
  const host = name === 'local' ? localCapabilities() : (await openCapture(name)).host;
  known.set(name, host);
  return host;
}

/** Data of the CPU that a guest is given as they are. */
const OF_THE_CPU: ReadonlySet<number> = new Set([0xd, 0x12, 0x14, 0x1c, 0x1d, 0x1e, 0x24]);

/** `host` on a CPU that has every feature of the pair, and its XSAVE layout. */
function fitting(host: HostCapabilities, { vcpus }: CpuIdentity): HostCapabilities {
  const own = vcpus[0]!.cpuid;
  const fit = (table: CpuidTable): CpuidTable =>
    withAdditions(new CpuidTable(table.rows.filter(({ leaf }) => !OF_THE_CPU.has(leaf))), own);
  return { ...host, supportedCpuid: fit(host.supportedCpuid), hostCpuid: fit(host.hostCpuid) };
}

function localCapabilities(): HostCapabilities {
  using kvm = openKvm();
  return hostCapabilities(kvm);
}

function makeHost(mutant: Mutant, host: HostCapabilities, mutated: boolean): Host {
  const faults = mutated && mutant.kind === 'kernel' ? mutant.faults : null;
  if (isLocal(mutant)) return new LocalHost(host, mutated ? (kvm) => localKvm(kvm, mutant) : (kvm) => kvm);
  if (!faults) return new RecordedHost(mutant.host ?? FITTING, host);
  return new RecordedHost(mutant.host ?? FITTING, captureWith(host, faults), {
    kernel: (kvm) => kernelWith(kvm, faults, false),
    shows: shownBy(faults),
  });
}

function localKvm(kvm: Kvm, mutant: Mutant): Kvm {
  if (mutant.kind === 'kernel') return kernelWith(kvm, mutant.faults, true, mutant.vcpus);
  return mutant.kind === 'monitor' ? monitorWith(kvm, mutant.fault, (mutant.msrs ?? []).map(Number)) : kvm;
}

/** This machine's KVM, with the agent in this process. */
class LocalHost implements Host {
  readonly summary;
  readonly capabilities: HostCapabilities;
  readonly concurrent = true;
  readonly #made: (kvm: Kvm) => Kvm;

  constructor(capabilities: HostCapabilities, made: (kvm: Kvm) => Kvm) {
    this.capabilities = capabilities;
    this.summary = summarizeHost('local', capabilities);
    this.#made = made;
  }

  open(): Promise<AgentSession> {
    return openAgentHere(
      kvmHandlers(() => this.#made(openKvm())),
      async () => new PassThrough(),
    );
  }

  warm(): Promise<AgentSession> {
    return this.open();
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
