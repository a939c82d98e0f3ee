/** The local host: agents are child processes on this machine's /dev/kvm. */
import { fileURLToPath } from 'node:url';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { captureFromJson } from '../../corpora/host-capture.js';
import type { HostSummary } from '../../reports/result-log.js';
import { openChildAgent } from './child-agent.js';

import type { AgentSession, Host } from './host.js';
import { summarizeHost } from './summary.js';

const AGENT = fileURLToPath(new URL('agent/main.js', import.meta.url));

export class LocalHost implements Host {
  readonly summary: HostSummary;
  readonly capabilities: HostCapabilities;
  readonly concurrent = true;
  /** Warm agents that no scenario uses now. */
  readonly #idle: AgentSession[];

  private constructor(capabilities: HostCapabilities, first: AgentSession) {
    this.capabilities = capabilities;
    this.summary = summarizeHost('local', capabilities);
    this.#idle = [first];
  }

  /** Throws `MachineError` where /dev/kvm cannot be used. */
  static async open(): Promise<LocalHost> {
    const session = await openAgent();
    try {
      return new LocalHost(captureFromJson(await session.agent.call('capture', {})), session);
    } catch (error) {
      await session[Symbol.asyncDispose]();
      throw error;
    }
  }

  open(): Promise<AgentSession> {
    return openAgent();
  }

  /** Takes an idle agent, or starts one; back it comes with its guest ended. An agent that broke is not used again. */
  async warm(): Promise<AgentSession> {
    const session = this.#idle.pop() ?? (await openAgent());
    return {
      agent: session.agent,
      socket: session.socket,
      [Symbol.asyncDispose]: async () => {
        const usable = await session.agent.call('close', {}).then(
          () => true,
          () => false,
        );
        if (usable) this.#idle.push(session);
        else await session[Symbol.asyncDispose]();
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#idle.splice(0).map((session) => session[Symbol.asyncDispose]()));
  }
}

const openAgent = (): Promise<AgentSession> => openChildAgent([process.execPath, AGENT]);
