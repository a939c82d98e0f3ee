/** A host whose agents are processes that we start one by one: on this machine, or over ssh. */
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { captureFromJson } from '../../corpora/host-capture.js';
import type { HostSummary } from '../../reports/result-log.js';
import type { AgentSession, Host } from './host.js';
import { summarizeHost } from './summary.js';

/** What starts an agent, and where results say that it runs. */
export interface ProcessHostSpec {
  /** `local`, `ssh:USER@HOST`. */
  readonly id: string;
  readonly openAgent: () => Promise<AgentSession>;
  /** Told of an agent that broke as it ended its guest: the guest has its verdict by then. */
  readonly onLost?: (why: string) => void;
}

export class ProcessHost implements Host {
  readonly summary: HostSummary;
  readonly capabilities: HostCapabilities;
  readonly concurrent = true;
  /** Warm agents that no scenario uses now, the one that came back first in front. */
  readonly #idle: Idle[];
  readonly #openAgent: () => Promise<AgentSession>;
  readonly #onLost: (why: string) => void;
  #over = false;

  private constructor(
    { id, openAgent, onLost = () => undefined }: ProcessHostSpec,
    capabilities: HostCapabilities,
    first: AgentSession,
  ) {
    this.capabilities = capabilities;
    this.summary = summarizeHost(id, capabilities);
    this.#idle = [{ session: first, usable: Promise.resolve(true) }];
    this.#openAgent = openAgent;
    this.#onLost = (why) => onLost(`${id}: an agent broke as it ended its guest: ${why}`);
  }

  /** Throws `MachineError` where no agent can be started or /dev/kvm cannot be used there. */
  static async start(spec: ProcessHostSpec): Promise<ProcessHost> {
    const session = await spec.openAgent();
    try {
      return new ProcessHost(spec, captureFromJson(await session.agent.call('capture', {})), session);
    } catch (error) {
      await session[Symbol.asyncDispose]();
      throw error;
    }
  }

  open(): Promise<AgentSession> {
    return this.#openAgent();
  }

  /**
   * Takes an idle agent once its last guest has ended, or starts one. It ends its guest when it comes back, which nobody waits for: the kernel takes
   * as long to end a VM as to judge what was in it. An agent that broke is not used again.
   */
  async warm(): Promise<AgentSession> {
    const session = (await this.#idleOne()) ?? (await this.#openAgent());
    let ended: Promise<void> | null = null;
    return {
      agent: session.agent,
      socket: session.socket,
      [Symbol.asyncDispose]: () => {
        ended ??= this.#takeBack(session);
        return ended;
      },
    };
  }

  async #takeBack(session: AgentSession): Promise<void> {
    const idle = { session, usable: this.#endGuest(session) };
    if (this.#over) await end(idle);
    else this.#idle.push(idle);
  }

  async #endGuest(session: AgentSession): Promise<boolean> {
    const { broken } = session.agent;
    try {
      await session.agent.call('close', {});
      return true;
    } catch (error) {
      // What broke it earlier is in the verdict of its guest.
      if (!broken) this.#onLost((error as Error).message);
      await session[Symbol.asyncDispose]();
      return false;
    }
  }

  async #idleOne(): Promise<AgentSession | undefined> {
    for (let idle = this.#idle.shift(); idle; idle = this.#idle.shift()) {
      if (await idle.usable) return idle.session;
    }
    return undefined;
  }

  /** Ends the idle agents; those in use end when they come back. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    await Promise.all(this.#idle.splice(0).map(end));
  }
}

/** An agent that came back; `usable` once it has ended its guest, false where it broke and was ended itself. */
interface Idle {
  readonly session: AgentSession;
  readonly usable: Promise<boolean>;
}

async function end({ session, usable }: Idle): Promise<void> {
  if (await usable) await session[Symbol.asyncDispose]();
}
