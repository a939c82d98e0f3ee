/** Live migrations of a soak: over a socket to another machine, some slower than the guest writes, some given up or cut and then made. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type Arrival, migrateIn } from '../../reference-vmm/migration/destination.js';
import { DEFAULT_PARAMETERS, type MigrationParameters } from '../../reference-vmm/migration/parameters.js';
import { MigrationProgress } from '../../reference-vmm/migration/progress.js';
import { type MigrationEnd, migrateOut } from '../../reference-vmm/migration/source.js';
import type { Activity, SoakContext } from './activity.js';
import { askWitness, realizerOf } from './witness-guest.js';

const SILENCE_MS = 20_000;
/** Of ten migrations: how many go over a link that is slower than the guest for several rounds, are cancelled first, are cut first. */
const SLOW = 2;
const CANCELLED = 1;

export const migrations: Activity = {
  name: 'migrations',
  async run(context) {
    const kind = context.random(10);
    if (kind < SLOW) return move(context, slowLink(context));
    if (kind < SLOW + CANCELLED) await giveUp(context);
    return move(context, { ...DEFAULT_PARAMETERS, 'silence-limit': SILENCE_MS });
  },
};

/** So slow that what is left grows, round after round, until the rounds are up. */
const slowLink = ({ random }: SoakContext): MigrationParameters => ({
  ...DEFAULT_PARAMETERS,
  ...{ 'silence-limit': SILENCE_MS, 'downtime-limit': 1, 'max-rounds': 3 + random(3) },
  'max-bandwidth': 20_000_000,
});

async function move(context: SoakContext, parameters: MigrationParameters): Promise<void> {
  const progress = new MigrationProgress();
  const { source, destination } = await migrate(context, (duplex) =>
    migrateOut(context.guest, duplex, 'soak', { parameters, progress }),
  );
  if (source.status === 'rejected') throw source.reason;
  if (source.value.kind !== 'completed') throw new Error(`a migration ended ${JSON.stringify(source.value)}`);
  if (destination.status === 'rejected') throw destination.reason;
  if (destination.value.kind !== 'arrived')
    throw new Error('the source says it moved, the destination that it refused');
  if (context.guest.state !== 'paused') throw new Error('two guests run');
  context.guest[Symbol.dispose]();
  context.guest = destination.value.machine;
  await askWitness(context.guest);
  context.count('moved');
  context.count('rounds', progress.rounds);
  context.count('pages sent', progress.pages.full);
  if (progress.rounds > 2) context.count('moved while written faster than the link');
}

/** Cancelled at any moment; where that was too late the guest has moved. */
async function giveUp(context: SoakContext): Promise<void> {
  const signal = AbortSignal.timeout(1 + context.random(40));
  const { source, destination } = await migrate(context, (duplex) =>
    migrateOut(context.guest, duplex, 'soak', {
      parameters: { ...slowLink(context), 'max-rounds': 1000 },
      signal,
    }),
  );
  if (source.status === 'rejected') throw source.reason;
  if (source.value.kind !== 'cancelled') throw new Error(`a cancelled migration ended ${source.value.kind}`);
  if (destination.status === 'fulfilled') throw new Error('a cancelled migration arrived');
  if (context.guest.state !== 'running') throw new Error('after a cancelled migration nobody runs');
  await askWitness(context.guest);
  context.count('cancelled');
}

async function migrate(
  context: SoakContext,
  out: (duplex: Socket) => Promise<MigrationEnd>,
): Promise<{ source: PromiseSettledResult<MigrationEnd>; destination: PromiseSettledResult<Arrival> }> {
  const path = join(context.folder, 'migration.sock');
  const server = createServer().listen(path);
  await once(server, 'listening');
  const near = connect(path);
  const [far] = (await once(server, 'connection')) as [Socket];
  server.close();
  const [source, destination] = await Promise.allSettled([
    out(near),
    migrateIn(far, 'soak', realizerOf(context.kvm, context.shape), { silenceMs: SILENCE_MS }),
  ]);
  return { source, destination };
}
