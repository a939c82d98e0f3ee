/** The process that `kills` kills: one side of one migration, which says what it is about to do and what it did. */
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { migrateIn } from '../../reference-vmm/migration/destination.js';
import { MigrationProgress } from '../../reference-vmm/migration/progress.js';
import { migrateOut } from '../../reference-vmm/migration/source.js';
import { connectMigration, listenForMigration } from '../../reference-vmm/migration/transport.js';
import { realizerOf, type SoakShape, startWitness } from './witness-guest.js';

const [role, uri, shapeText] = process.argv.slice(2) as [string, string, string];
const shape = JSON.parse(shapeText) as SoakShape;
const kvm = openKvm();
if (role === 'source') {
  const guest = await startWitness(kvm, shape);
  const link = await connectMigration(uri);
  console.log('setup');
  await migrateOut(guest, link, uri, { progress: new MigrationProgress((status) => console.log(status)) });
} else {
  const { connection } = await listenForMigration(uri);
  console.log('listening');
  await migrateIn(await connection, uri, realizerOf(kvm, shape), {
    onRun: () => console.log('running'),
  });
}
// It waits to be killed.
setInterval(() => undefined, 1000);
