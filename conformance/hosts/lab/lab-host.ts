/** A lab host as scenarios see it: booted when needed, its agents kept warm, replaced where it hangs, dies or grows old. */
import { debuglog } from 'node:util';
import { GuestAbiError, MachineError } from '../../../corpora/errors.js';
import type { HostCapabilities } from '../../../corpora/host-capabilities.js';
import { captureFromJson } from '../../../corpora/host-capture.js';
import type { HostSummary } from '../../../reports/result-log.js';
import { AgentClient } from '../agent/client.js';
import type { AgentSession, Host } from '../host.js';
import { summarizeHost } from '../summary.js';
import { LabMachine, type LabMachineSpec } from './lab-machine.js';
import type { Conversation } from './switchboard-client.js';

/** Milliseconds for an agent to say hello (it starts in about a second), and for a host to end one. */
const HELLO_DEADLINE = 60_000;
const HANG_UP_DEADLINE = 15_000;

/**
 * Sessions after which a host is booted anew. Emulated hosts were seen to live-lock after 160 starts of a whole QEMU inside and, with two vCPUs, to oops after 1,390;
 * five of them served 400 sessions each without a fault.
 */
const SESSIONS_PER_BOOT = 500;

/** Agents kept for `warm`: a scenario takes two, of two at a time. */
const MOST_IDLE = 3;

/**
 * EFER.LME of a guest whose CR4.PAE is clear: at its next exit QEMU's TCG (`cpu_x86_update_cr0`) takes the host's CR0.PG for a switch to long mode
 * without PAE, and leaves the host without paging. The host's end was seen on kernels 5.10 and 6.12 under QEMU 11.1, its cause is read, not traced.
 */
const DEADLY_MSR_BITS: ReadonlyMap<number, bigint> = new Map([[0xc0000080, 1n << 8n]]);

/**
 * IA32_SPEC_CTRL, which `/rich` advertises: KVM lets a guest that wrote it once at the CPU's own, and QEMU's TCG has none (`helper_wrmsr` drops the value,
 * `helper_rdmsr` gives 0).
 */
const LOST_MSRS: ReadonlySet<number> = new Set([0x48]);

/** `NODE_DEBUG=guest-abi-lab` tells boots, agents and replacements on stderr. */
const debug = debuglog('guest-abi-lab');

/** An agent on a boot of the host, with the conversation that reaches it. */
interface LabAgent {
  readonly machine: LabMachine;
  readonly conversation: Conversation;
  readonly agent: AgentClient;
}

export class LabHost implements Host {
  readonly summary: HostSummary;
  readonly origin: string;
  readonly capabilities: HostCapabilities;
  readonly concurrent = true;
  readonly deadlyMsrBits = DEADLY_MSR_BITS;
  readonly lostMsrs = LOST_MSRS;
  readonly #boots: Boots;
  /** Warm agents that no session uses now. */
  #idle: LabAgent[];

  private constructor(id: string, boots: Boots, capabilities: HostCapabilities, first: LabAgent) {
    this.capabilities = capabilities;
    this.summary = summarizeHost(id, capabilities, `ready in ${(first.machine.bootMs / 1000).toFixed(1)} s`);
    const { qemu, kernel } = first.machine.spec;
    this.origin = `${id}, QEMU ${qemu.version}, ${kernel.version ? `Debian ${kernel.version}` : kernel.origin}`;
    this.#boots = boots;
    this.#idle = [first];
  }

  /**
   * Boots a host and asks for its capabilities. Throws `MachineError` where it does not come up.
   * `takeTurn` bounds how many boots go on at once.
   */
  static async start(id: string, spec: LabMachineSpec, takeTurn: TakeTurn = (work) => work()): Promise<LabHost> {
    const boots = new Boots(spec, takeTurn);
    try {
      const first = await startAgent(await boots.machine());
      return new LabHost(id, boots, captureFromJson(await first.agent.call('capture', {}, HELLO_DEADLINE)), first);
    } catch (error) {
      await boots.end();
      throw error;
    }
  }

  async warm(): Promise<AgentSession> {
    const machine = await this.#boots.machine();
    const stale = this.#idle.filter((idle) => idle.machine !== machine);
    this.#idle = this.#idle.filter((idle) => !stale.includes(idle));
    return this.#session(this.#idle.pop() ?? (await this.#start(machine)));
  }

  async open(): Promise<AgentSession> {
    return this.#session(await this.#start(await this.#boots.machine()));
  }

  /** Process id of the QEMU that runs now, for tests that kill it. */
  async pid(): Promise<number> {
    return (await this.#boots.machine()).pid;
  }

  async #start(machine: LabMachine): Promise<LabAgent> {
    try {
      return await startAgent(machine);
    } catch (error) {
      await this.#boots.discard(machine);
      throw error;
    }
  }

  #session(from: LabAgent): AgentSession {
    this.#boots.enter(from.machine);
    const end = async (): Promise<void> => {
      const kept = this.#idle.length < MOST_IDLE && (await isUsable(from.agent));
      if (kept) this.#idle.push(from);
      else await this.#hangUp(from);
      await this.#boots.leave(from.machine);
    };
    let ended: Promise<void> | null = null;
    return {
      agent: from.agent,
      socket: async (kind, path) => from.machine.open({ kind, socket: path }),
      [Symbol.asyncDispose]: () => {
        ended ??= end();
        return ended;
      },
    };
  }

  /** A host that does not even end a process is hung: it is killed, and the next session boots another. */
  async #hangUp(from: LabAgent): Promise<void> {
    try {
      await from.conversation.hangUp(HANG_UP_DEADLINE);
    } catch (error) {
      if (!(error instanceof GuestAbiError)) throw error;
      debug('%s is replaced: %s', from.machine.name, error.message);
      await this.#boots.discard(from.machine);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#boots.end();
  }
}

const isUsable = (agent: AgentClient): Promise<boolean> =>
  agent.call('close', {}).then(
    () => true,
    () => false,
  );

async function startAgent(machine: LabMachine): Promise<LabAgent> {
  const conversation = machine.open({ kind: 'agent' });
  const lastWords = (): string =>
    [conversation.words, machine.alive ? '' : machine.lastWords()].filter(Boolean).join(' | ');
  const begin = performance.now();
  const agent = await AgentClient.connect(conversation, conversation, HELLO_DEADLINE, lastWords);
  debug('%s has an agent after %d ms', machine.name, Math.round(performance.now() - begin));
  return { machine, conversation, agent };
}

/** Runs work when it is its turn. */
export type TakeTurn = <T>(work: () => Promise<T>) => Promise<T>;

/** The boots of one lab host, one at a time. */
class Boots {
  readonly #spec: LabMachineSpec;
  readonly #takeTurn: TakeTurn;
  #current: Promise<LabMachine> | null = null;
  #sessions = 0;
  #active = 0;
  #over = false;

  constructor(spec: LabMachineSpec, takeTurn: TakeTurn) {
    this.#spec = spec;
    this.#takeTurn = takeTurn;
  }

  /** The machine that runs, booted first where none does. */
  async machine(): Promise<LabMachine> {
    if (this.#over) throw new MachineError('lab-host-ended', 'this lab host was ended');
    const current = this.#current;
    const machine = await current;
    if (machine?.alive) return machine;
    if (this.#current === current) this.#current = this.#boot();
    return this.#current!;
  }

  async #boot(): Promise<LabMachine> {
    this.#sessions = 0;
    this.#active = 0;
    try {
      const machine = await this.#takeTurn(() => LabMachine.start(this.#spec));
      debug('%s booted in %d ms', machine.name, machine.bootMs);
      return machine;
    } catch (error) {
      this.#current = null;
      throw error;
    }
  }

  enter(machine: LabMachine): void {
    if (!machine.alive) return;
    this.#sessions++;
    this.#active++;
  }

  /** Ends a machine that has served long enough, once nobody uses it. */
  async leave(machine: LabMachine): Promise<void> {
    if (!machine.alive) return;
    this.#active--;
    if (this.#active === 0 && this.#sessions >= SESSIONS_PER_BOOT) await this.discard(machine);
  }

  async discard(machine: LabMachine): Promise<void> {
    await machine.stop();
  }

  async end(): Promise<void> {
    this.#over = true;
    const machine = await this.#current?.catch(() => null);
    await machine?.stop();
  }
}
