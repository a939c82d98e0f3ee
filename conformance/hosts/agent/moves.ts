/** The guest of an agent on its way to another host, and from one: loaded where one is moved, since agents start often and most guests stay. */
import type { CpuIdentity } from '../../../corpora/identity.js';
import type { Reason } from '../../../corpora/verdict.js';
import type { LiveMachine } from '../../../reference-vmm/live-machine.js';
import { type Arrival, migrateIn } from '../../../reference-vmm/migration/destination.js';
import { DEFAULT_PARAMETERS, withParameters } from '../../../reference-vmm/migration/parameters.js';
import { MigrationProgress } from '../../../reference-vmm/migration/progress.js';
import { type MigrationEnd, migrateOut } from '../../../reference-vmm/migration/source.js';
import { connectMigration, listenForMigration } from '../../../reference-vmm/migration/transport.js';
import { inFolder } from './made-folders.js';
import type { Params } from './protocol.js';

/** Precondition: it runs. A link that was cut as it was asked for gives `cancelled`. Throws as `migrateOut`. */
export async function sendGuest(
  live: LiveMachine,
  { socket, giveUp, maxRounds }: Params<'send'>,
): Promise<MigrationEnd> {
  const link = await connectMigration(`unix:${socket}`);
  const cancel = new AbortController();
  const progress = new MigrationProgress((status) => {
    if (giveUp === 'cancelled' && status === 'active') cancel.abort();
    if (giveUp === 'cut' && status === 'device') link.destroy();
  });
  const parameters = withParameters(DEFAULT_PARAMETERS, maxRounds ? { 'max-rounds': maxRounds } : {});
  try {
    return await migrateOut(live, link, socket, { parameters, progress, signal: cancel.signal });
  } catch (error) {
    if (giveUp === 'cut' && (error as { code?: string }).code === 'migration-link') return { kind: 'cancelled' };
    throw error;
  }
}

export interface Awaited {
  readonly arriving: Promise<Arrival>;
  readonly stop: () => void;
}

/** Listens for the one guest that comes over `socket`; `realize` makes the machine of its identity, or says why not. */
export async function awaitGuest(
  socket: string,
  realize: (identity: CpuIdentity) => LiveMachine | readonly Reason[],
): Promise<Awaited> {
  const listening = await listenForMigration(`unix:${inFolder(socket)}`);
  const arriving = listening.connection.then((link) => migrateIn(link, socket, ({ identity }) => realize(identity)));
  // Who asks for it is told.
  arriving.catch(() => undefined);
  return { arriving, stop: () => listening.close() };
}
