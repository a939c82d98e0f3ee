/** Live saves of a soak: the guest is saved while it writes, and both it and the one from the file say that nothing changed and no write is lost. */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { featureName } from '../../corpora/features.js';
import { LiveMachine } from '../../reference-vmm/live-machine.js';
import { startLiveSave } from '../../reference-vmm/snapshot/live-save.js';
import { restoreSnapshot } from '../../reference-vmm/snapshot/restore.js';
import type { Activity, SoakContext } from './activity.js';
import { askWitness } from './witness-guest.js';

const NAME = 'guest.snapshot';
/** Bytes a second: slower than the guest writes. */
const SLOW = 20_000_000;

export const saves: Activity = {
  name: 'saves',
  async run(context) {
    const { guest, folder, random, count } = context;
    const file = join(folder, NAME);
    const slow = random(3) === 0;
    const save = await startLiveSave(guest, file, slow ? { bytesPerSecond: SLOW } : {});
    if (random(8) === 0) return giveUp(context, save.giveUp());
    const end = await save.done;
    if (end.kind !== 'saved') throw new Error(`a live save ended '${end.kind}'`);
    count(slow ? 'saved, slowly' : 'saved');
    count('pages copied for their writers', end.faults);
    await askWitness(guest);
    await goOnFrom(file, context);
    rmSync(file);
  },
};

async function giveUp({ guest, folder, count }: SoakContext, end: Promise<{ readonly kind: string }>): Promise<void> {
  const { kind } = await end;
  const left = readdirSync(folder).filter((name) => name.startsWith(NAME));
  // It may have been too late to give up.
  const wanted = kind === 'saved' ? [NAME] : [];
  if (left.join() !== wanted.join()) throw new Error(`given up (${kind}), and there is ${left.join() || 'nothing'}`);
  for (const name of left) rmSync(join(folder, name));
  count(`save given up: ${kind}`);
  await askWitness(guest);
}

/** The guest of the file says that all is well; sometimes it is the one that the soak goes on with. */
async function goOnFrom(file: string, context: SoakContext): Promise<void> {
  const lazy = context.random(2) === 0;
  const made = restoreSnapshot(context.kvm, file, {
    ...{ nameOf: featureName, allowAltered: true, forceFeatures: true, lazy },
  });
  if (made.kind === 'refused') throw new Error(made.reasons.map(({ message }) => message).join('\n'));
  const restored = new LiveMachine(made.machine);
  restored.resume();
  await askWitness(restored);
  context.count(lazy ? 'restored, mapped' : 'restored, read');
  // A mapped one cannot be saved live.
  const takesOver = !lazy && context.random(4) === 0;
  (takesOver ? context.guest : restored)[Symbol.dispose]();
  if (takesOver) context.guest = restored;
}
