/** The guest of an agent on its way to another host, and from one: loaded where one is moved, since agents start often and most guests stay. */
import type { LiveMachine } from '../../../reference-vmm/live-machine.js';
import { type Arrival, migrateIn, type Realizer } from '../../../reference-vmm/migration/destination.js';
import { DEFAULT_PARAMETERS, withParameters } from '../../../reference-vmm/migration/parameters.js';
import { MigrationProgress } from '../../../reference-vmm/migration/progress.js';
import { type MigrationEnd, migrateOut } from '../../../reference-vmm/migration/source.js';
import { connectMigration, listenForMigration } from '../../../reference-vmm/migration/transport.js';
import { inFolder } from './made-folders.js';
import type { Params } from './protocol.js';

/** Milliseconds for which the other side may be silent, or not come: longer than a runner waits for an answer, since an emulated host may be as slow. */
const PATIENCE_MS = 120_000;

/** Precondition: it runs. A link that was cut as it was asked for gives `cancelled`. Throws as `migrateOut`. */
export async function sendGuest(
  live: LiveMachine,
  { socket, giveUp, maxRounds }: Params<'send'>,
): Promise<MigrationEnd> {
  const link = await connectMigration(`unix:${socket}`, { deadlineMs: PATIENCE_MS });
  const cancel = new AbortController();
  const progress = new MigrationProgress((status) => {
    if (giveUp === 'cancelled' && status === 'active') cancel.abort();
    if (giveUp === 'cut' && status === 'device') link.destroy();
  });
  const changes = { 'silence-limit': PATIENCE_MS, ...(maxRounds && { 'max-rounds': maxRounds }) };
  const parameters = withParameters(DEFAULT_PARAMETERS, changes);
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
export async function awaitGuest(socket: string, realize: Realizer): Promise<Awaited> {
  const listening = await listenForMigration(`unix:${inFolder(socket)}`, { deadlineMs: PATIENCE_MS });
  const arriving = listening.connection.then((link) => migrateIn(link, socket, realize, { silenceMs: PATIENCE_MS }));
  // Who asks for it is told.
  arriving.catch(() => undefined);
  return { arriving, stop: () => listening.close() };
}
