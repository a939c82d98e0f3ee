/** A recorded host: a capture stands in for a kernel, so nothing is booted and no /dev/kvm is needed. Its verdicts prove nothing of a kernel. */
import { PassThrough } from 'node:stream';
import type { HostCapabilities } from '../../../corpora/host-capabilities.js';
import { type HostSummary, RECORDED } from '../../../reports/result-log.js';
import { openAgentHere } from '../agent/here.js';
import type { AgentSession, Host } from '../host.js';
import { summarizeHost } from '../summary.js';
import { type Links, type RecordedFaults, recordedHandlers } from './handlers.js';
import { openCapture } from './open-capture.js';

/** Shared by all recorded hosts of this process: their guests move among them. */
const LINKS: Links = new Map();

export class RecordedHost implements Host {
  readonly summary: HostSummary;
  readonly capabilities: HostCapabilities;
  readonly concurrent = true;

  readonly #faults: RecordedFaults;

  /** @param faults what the recorded kernel does wrong, for mutants */
  constructor(name: string, capabilities: HostCapabilities, faults: RecordedFaults = {}) {
    this.#faults = faults;
    this.capabilities = capabilities;
    this.summary = summarizeHost(`${RECORDED}${name}`, capabilities, 'recorded: nothing is booted');
  }

  /** Opens the host of `recorded:NAME`. Throws as `openCapture` does. */
  static async open(name: string): Promise<RecordedHost> {
    const { name: whole, host } = await openCapture(name);
    return new RecordedHost(whole, host);
  }

  /** An agent in this process, over the same protocol as any other. */
  open(): Promise<AgentSession> {
    // Guests move by `LINKS`: nothing goes through a socket.
    return openAgentHere(recordedHandlers(this.capabilities, LINKS, this.#faults), async () => new PassThrough());
  }

  warm(): Promise<AgentSession> {
    return this.open();
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
