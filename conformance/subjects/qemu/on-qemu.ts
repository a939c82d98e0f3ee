/** A host whose guests are a QEMU's: the same agents, told in each request which QEMU makes the guest. */
import type { AgentClient } from '../../hosts/agent/client.js';
import type { Operation, Params } from '../../hosts/agent/protocol.js';
import type { AgentSession, Host } from '../../hosts/host.js';
import type { Expectation } from '../../run/judge.js';
import type { QemuSubject } from '../subject.js';

/** A QEMU on a host, with the release whose behaviour it has. */
export interface SubjectOnHost extends QemuSubject {
  readonly emulator: string;
  /** As QEMU prints it. */
  readonly version: string;
}

const MAKES_A_GUEST: ReadonlySet<Operation> = new Set(['boot', 'restore', 'listen']);

/**
 * A nested QEMU in an emulated host takes seconds for what takes milliseconds here. Whoever asks cannot shorten it: the agent says itself what was late, and one
 * that is killed for its silence would leave its QEMU behind.
 */
const DEADLINE = 90_000;

/** `host` with its guests made by `subject`. Disposing it leaves `host` open. */
export function onQemu(host: Host, subject: SubjectOnHost): Host {
  const { binary, accel } = subject;
  const told = async (opening: Promise<AgentSession>): Promise<AgentSession> => {
    const session = await opening;
    const call: AgentClient['call'] = (op, params) => {
      const request = MAKES_A_GUEST.has(op) ? { ...(params as Params<'boot'>), qemu: { binary, accel } } : params;
      return session.agent.call(op, request as typeof params, DEADLINE);
    };
    return {
      agent: { call } as AgentClient,
      socket: session.socket,
      [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
    };
  };
  return {
    summary: host.summary,
    capabilities: host.capabilities,
    concurrent: host.concurrent,
    subject,
    warm: () => told(host.warm()),
    open: () => told(host.open()),
    [Symbol.asyncDispose]: async () => {},
  };
}

/**
 * False where a guest that sets CR4.OSXSAVE never goes on: since 6.1 TCG reserves the bit on CPUs without any feature in D.1.EAX (Opteron_G4, Opteron_G5),
 * and ends no such write (QEMU target/i386/cpu.h, cr4_reserved_bits; target/i386/tcg/system/misc_helper.c, helper_write_crN).
 */
export const takesOsxsave = ({ subject }: Pick<Host, 'subject'>, [first]: Expectation): boolean =>
  subject?.accel !== 'tcg' || subject.emulator === '5.2' || (first?.cpuid.value(0xd, 1, 'eax') ?? 0) !== 0;
