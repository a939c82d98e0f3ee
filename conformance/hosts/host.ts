/** A host as scenarios see it: a kernel + CPU that offers KVM, where agents can be started. */
import type { Duplex } from 'node:stream';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import type { HostSummary } from '../../reports/result-log.js';
import type { SubjectOnHost } from '../subjects/qemu/on-qemu.js';
import type { AgentClient } from './agent/client.js';

/** A conversation with a fresh agent process on a host; disposing ends the process and its guest. */
export interface AgentSession extends AsyncDisposable {
  readonly agent: AgentClient;
  /** A byte stream to a unix socket on the agent's host: connected to, or listened on for one connection. */
  readonly socket: (kind: 'connect' | 'listen', path: string) => Promise<Duplex>;
}

export interface Host extends AsyncDisposable {
  readonly summary: HostSummary;
  /** Where a capture of it was taken, where that is more than its id: versions of the emulator and of the kernel's package. */
  readonly origin?: string;
  readonly capabilities: HostCapabilities;
  /** The QEMU that makes its guests; absent: the reference monitor does. */
  readonly subject?: SubjectOnHost;
  /** True where two sessions can be open at once and share files and unix sockets. */
  readonly concurrent: boolean;
  /** MSR bits with which a guest brings down the host itself, by index. */
  readonly deadlyMsrBits?: ReadonlyMap<number, bigint>;
  /** MSRs that the host's own CPU has not, though it advertises them: what a guest writes there is lost. */
  readonly lostMsrs?: ReadonlySet<number>;
  /**
   * An agent that may have served before: for scenarios that need no new process. Sessions that are open at the same time
   * have different processes.
   */
  warm(): Promise<AgentSession>;
  /** An agent in a new process. */
  open(): Promise<AgentSession>;
}
