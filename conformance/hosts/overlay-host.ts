/** An overlay host: this machine's KVM restricted to what a captured kernel offers. Guests really run; what they see is the local kernel's. */

import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { captureFromJson } from '../../corpora/host-capture.js';
import { overlayKvm } from '../../reference-vmm/kvm/overlay.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import type { HostSummary } from '../../reports/result-log.js';
import { kvmHandlers } from './agent/handlers.js';
import { openAgentHere } from './agent/here.js';
import { localSocket } from './bridge.js';
import type { AgentSession, Host } from './host.js';
import { summarizeHost } from './summary.js';

export class OverlayHost implements Host {
  readonly summary: HostSummary;
  readonly capabilities: HostCapabilities;
  readonly concurrent = true;
  readonly #captured: HostCapabilities;

  private constructor(name: string, captured: HostCapabilities, capabilities: HostCapabilities) {
    this.#captured = captured;
    this.capabilities = capabilities;
    this.summary = summarizeHost(`overlay:${name}`, capabilities);
  }

  /** `name`: of the capture. Throws `MachineError` where /dev/kvm cannot be used. */
  static async open(name: string, captured: HostCapabilities): Promise<OverlayHost> {
    await using session = await sessionOn(captured);
    const capabilities = captureFromJson(await session.agent.call('capture', {}));
    return new OverlayHost(name, captured, capabilities);
  }

  /** Its agent is in this process: a new one is a new KVM handle and a new guest. */
  open(): Promise<AgentSession> {
    return sessionOn(this.#captured);
  }

  warm(): Promise<AgentSession> {
    return this.open();
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

const sessionOn = (captured: HostCapabilities): Promise<AgentSession> =>
  openAgentHere(
    kvmHandlers(() => overlayKvm(openKvm(), captured)),
    localSocket,
  );
