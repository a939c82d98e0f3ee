/** A machine that waits for its guest: `--incoming` and `migrate-incoming`. */
import { GuestAbiError } from '../../corpora/errors.js';
import { reason } from '../../corpora/verdict.js';
import { prepareThreads } from '../kvm/vcpu-threads.js';
import { migrateIn, type Realizer } from '../migration/destination.js';
import { rehearseReceiving } from '../migration/rehearsal.js';
import { rehearseLink } from '../migration/rehearse-link.js';
import { readTlsFolder } from '../migration/tls.js';
import { listenForMigration } from '../migration/transport.js';
import type { ControlledMachine } from './controlled-machine.js';

/** How long a source may take to come, in milliseconds: as good as for ever. */
const WAIT_MS = 2 ** 31 - 1;

/**
 * Listens at `uri` and takes the guest that comes; gives the address. The machine ends where none arrives whole. Throws `InputError`, or
 * `MachineError` where it cannot listen.
 */
export async function takeIncoming(machine: ControlledMachine, uri: string, tlsCreds = ''): Promise<string> {
  const { live } = machine;
  await rehearseLink(rehearseReceiving(live), live.travelFacts());
  await prepareThreads(live.identity.vcpus.length);
  const tls = tlsCreds ? { tls: readTlsFolder(tlsCreds, 'server') } : {};
  const listening = await listenForMigration(uri, { deadlineMs: WAIT_MS, ...tls });
  void (async () => {
    try {
      const arrival = await migrateIn(await listening.connection, uri, expecting(machine));
      if (arrival.kind === 'arrived') machine.arrived();
      else machine.incomingFailed(`refused: ${arrival.reasons.map(({ message }) => message).join('; ')}`);
    } catch (error) {
      const known = error instanceof GuestAbiError ? '' : 'unexpected: ';
      machine.incomingFailed(`no guest arrived: ${known}${(error as Error).message}`);
    }
  })();
  return listening.uri;
}

/** The machine stands already, its identity realized: the offer must be of the same pair. */
const expecting =
  ({ live }: ControlledMachine): Realizer =>
  ({ identity: { pair } }) => {
    const own = live.identity.pair;
    if (pair === own) return live;
    const message = `the guest is a ${pair}, this machine a ${own}`;
    return [reason({ code: 'other-pair', step: 'destination', contract: own, guest: pair, layer: 'monitor', message })];
  };
