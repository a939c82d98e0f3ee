/** The source of a migration: it lets go only once the destination has the guest. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { MachineError } from '../../corpora/errors.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import type { Reason } from '../../corpora/verdict.js';
import { identitySection, type MachineState, stateSections } from '../snapshot/machine-state.js';
import { Channel } from './channel.js';

export type MigrationEnd =
  | { readonly kind: 'sent' }
  | { readonly kind: 'refused'; readonly reasons: readonly Reason[] };

/**
 * Offers the identity; where the destination can give it, takes the state of the stopped guest by `takeState` and sends it.
 * After `sent` the caller must end its guest; after `refused` the guest is still the caller's. Throws `MachineError` `migration-link` where the link
 * broke before the state was sent, and `migration-unknown` where it broke after: the guest must then stay stopped, since it may run at the destination.
 */
export async function migrateOut(
  path: string,
  identity: CpuIdentity,
  takeState: () => MachineState,
  deadlineMs = 30_000,
): Promise<MigrationEnd> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
  } catch (error) {
    throw new MachineError('migration-link', `cannot reach ${path}: ${(error as NodeJS.ErrnoException).code}`, {
      given: path,
      cause: error,
    });
  }
  const channel = new Channel(socket, path);
  try {
    await channel.send('offer', [identitySection(identity)]);
    const refusal = await channel.receiveReply(deadlineMs);
    if (refusal.length > 0) return { kind: 'refused', reasons: refusal };
    await channel.send('state', stateSections(takeState()));
    const answer = await receiveConfirmation(channel, deadlineMs);
    return answer.length > 0 ? { kind: 'refused', reasons: answer } : { kind: 'sent' };
  } finally {
    channel.close();
  }
}

async function receiveConfirmation(channel: Channel, deadlineMs: number): Promise<readonly Reason[]> {
  try {
    return await channel.receiveReply(deadlineMs);
  } catch (error) {
    throw new MachineError(
      'migration-unknown',
      `the state was sent and no confirmation came (${(error as Error).message}): the guest may run at the destination and stays stopped here`,
      { cause: error },
    );
  }
}
