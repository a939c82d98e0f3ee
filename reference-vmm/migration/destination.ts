/** The destination of a migration: it realizes the identity before the source stops its guest, and refuses with every reason. */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { GuestAbiError, MachineError } from '../../corpora/errors.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import { requirementOf } from '../../corpora/requirements.js';
import { type Reason, reason } from '../../corpora/verdict.js';
import { MEMORY_LIMIT } from '../snapshot/file.js';
import { type MachineState, readIdentity, readState } from '../snapshot/machine-state.js';
import { Channel } from './channel.js';

/** What makes the guest; each gives the reasons why not. After reasons, the caller ends what was made. */
export interface Receiver {
  /** Makes the guest of the identity, CPUID read back and compared. */
  readonly realize: (identity: CpuIdentity) => readonly Reason[];
  /** Gives it the state. */
  readonly load: (state: MachineState) => readonly Reason[];
}

export interface Listening {
  /** Resolves with no reasons once the guest is here, else with why it was refused. Throws `MachineError` where nothing came in time. */
  readonly received: Promise<readonly Reason[]>;
  close(): void;
}

/** Listens on a unix socket for one migration. Resolves once it listens. */
export async function listenForMigration(path: string, receiver: Receiver, deadlineMs = 30_000): Promise<Listening> {
  const server = createServer();
  server.listen(path);
  try {
    await once(server, 'listening');
  } catch (error) {
    throw new MachineError('migration-link', `cannot listen on ${path}: ${(error as NodeJS.ErrnoException).code}`, {
      given: path,
      cause: error,
    });
  }
  const received = receiveOne(server, path, receiver, deadlineMs).finally(() => server.close());
  received.catch(() => undefined);
  return { received, close: () => server.close() };
}

async function receiveOne(
  server: Server,
  path: string,
  receiver: Receiver,
  deadlineMs: number,
): Promise<readonly Reason[]> {
  const channel = new Channel(await accept(server, path, deadlineMs), path);
  try {
    const offered = readIdentity(await channel.receive('offer', deadlineMs), path);
    const refusal = reasonsOf(() => receiver.realize(offered));
    await channel.reply(refusal);
    if (refusal.length > 0) return refusal;
    const reasons = await loadState(channel, path, receiver, deadlineMs);
    await channel.reply(reasons);
    return reasons;
  } finally {
    channel.close();
  }
}

async function loadState(
  channel: Channel,
  path: string,
  receiver: Receiver,
  deadlineMs: number,
): Promise<readonly Reason[]> {
  const sections = await channel.receive('state', deadlineMs);
  return reasonsOf(() => receiver.load(readState(sections, path, MEMORY_LIMIT)));
}

/** An expected error on this side (KVM fails, the state contradicts itself) is a refusal that the source must hear. */
function reasonsOf(take: () => readonly Reason[]): readonly Reason[] {
  try {
    return take();
  } catch (error) {
    if (!(error instanceof GuestAbiError)) throw error;
    const requirement = requirementOf(error.code) ?? 'ABI-STATE-002';
    return [reason({ code: error.code, requirement, step: 'destination', message: error.message })];
  }
}

async function accept(server: Server, path: string, deadlineMs: number): Promise<Socket> {
  const signal = AbortSignal.timeout(deadlineMs);
  try {
    const [socket] = (await once(server, 'connection', { signal })) as [Socket];
    return socket;
  } catch {
    throw new MachineError('migration-link', `nothing came over ${path} within ${deadlineMs} ms`, { given: path });
  }
}
