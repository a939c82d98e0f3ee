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
}

export class ProcessHost implements Host {
  readonly summary: HostSummary;
  readonly capabilities: HostCapabilities;
  readonly concurrent = true;
  /** Warm agents that no scenario uses now. */
  readonly #idle: AgentSession[];
  readonly #openAgent: () => Promise<AgentSession>;
  #over = false;

  private constructor({ id, openAgent }: ProcessHostSpec, capabilities: HostCapabilities, first: AgentSession) {
    this.capabilities = capabilities;
    this.summary = summarizeHost(id, capabilities);
    this.#idle = [first];
    this.#openAgent = openAgent;
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

  /** Takes an idle agent, or starts one; back it comes with its guest ended. An agent that broke is not used again. */
  async warm(): Promise<AgentSession> {
    const session = this.#idle.pop() ?? (await this.#openAgent());
    return {
      agent: session.agent,
      socket: session.socket,
      [Symbol.asyncDispose]: async () => {
        const usable = await session.agent.call('close', {}).then(
          () => true,
          () => false,
        );
        if (usable && !this.#over) this.#idle.push(session);
        else await session[Symbol.asyncDispose]();
      },
    };
  }

  /** Ends the idle agents; those in use end when they come back. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    await Promise.all(this.#idle.splice(0).map((session) => session[Symbol.asyncDispose]()));
  }
}
