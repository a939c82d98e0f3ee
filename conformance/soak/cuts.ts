/** Cut links of a soak: after any number of bytes either way, both sides alive: one guest runs, or one side says that it does not know. */
import { migrate } from '../../reference-vmm/migration/fixtures.js';
import { DEFAULT_PARAMETERS } from '../../reference-vmm/migration/parameters.js';
import type { Activity, SoakContext } from './activity.js';
import { askWitness, realizerOf } from './witness-guest.js';

/** All answers of a destination together are shorter; a stream is longer. */
const ANSWER_BYTES = 140;
const STREAM_BYTES = 6 * 1024 * 1024;

export const cuts: Activity = {
  name: 'cuts',
  async run(context) {
    const side = context.random(2) === 0 ? 'source' : 'destination';
    let left = context.random(side === 'source' ? ANSWER_BYTES : STREAM_BYTES);
    const { source, destination } = await migrate(context.guest, realizerOf(context.kvm, context.shape), {
      parameters: { ...DEFAULT_PARAMETERS, 'silence-limit': 10_000 },
      tamper: (chunk, to, cut) => {
        if (to !== side) return chunk;
        left -= chunk.length;
        if (left > 0) return chunk;
        setImmediate(cut);
        return chunk.subarray(0, chunk.length + left);
      },
    });
    const how = source.status === 'rejected' ? (source.reason as { code: string }).code : source.value.kind;
    const there =
      destination.status === 'fulfilled' && destination.value.kind === 'arrived' ? destination.value.machine : null;
    context.count(`link cut: ${how}, ${there ? 'arrived' : 'nobody there'}`);
    const here = context.guest.state === 'running';
    if (here && there) throw new Error(`two guests run after a cut: ${how}`);
    if (!here && !there && how !== 'migration-unknown') throw new Error(`no guest runs after a cut: ${how}`);
    if (here !== (how === 'migration-link'))
      throw new Error(`after '${how}' the source's guest is ${context.guest.state}`);
    if (there) goOnWith(context, there);
    // Nobody has it: here it is still whole, and whoever knows that the destination is dead may let it run.
    else if (!here) {
      context.guest.letGo();
      context.guest.resume();
    }
    await askWitness(context.guest);
  },
};

function goOnWith(context: SoakContext, there: SoakContext['guest']): void {
  context.guest[Symbol.dispose]();
  context.guest = there;
}
