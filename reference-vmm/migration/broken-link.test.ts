/** Links that break, stall and lie: at every stage one guest runs, or the side that stands still says that it does not know. */
import t from 'tap';
import { needsKvm } from '../fixtures.js';
import { openKvm } from '../kvm/system.js';
import { migrate, realizer, runsOn, standsStill, type Tamper, writer } from './fixtures.js';
import { DEFAULT_PARAMETERS } from './parameters.js';

const parameters = { ...DEFAULT_PARAMETERS, 'silence-limit': 3000 };

/** Lets so many bytes through to one side, then cuts. */
const cutAfter = (side: 'destination' | 'source', bytes: number): Tamper => {
  let left = bytes;
  return (chunk, to, cut) => {
    if (to !== side) return chunk;
    left -= chunk.length;
    if (left > 0) return chunk;
    setImmediate(cut);
    return chunk.subarray(0, chunk.length + left);
  };
};

void t.test(
  'cut after any number of bytes of the answers: before the hand-over the source goes on, after it nobody guesses',
  needsKvm,
  async (t) => {
    using kvm = openKvm();
    const ends = new Set<string>();
    // A header of 24 bytes, then accepted (16 + 2), loaded (16 + 2) and running (16).
    for (const bytes of [0, 10, 30, 41, 42, 50, 59, 60, 61, 70, 75, 76]) {
      const source = writer(kvm, 16);
      await runsOn(source);
      const ended = await migrate(source, realizer(kvm), { parameters, tamper: cutAfter('source', bytes) });
      const how =
        ended.source.status === 'rejected' ? (ended.source.reason as { code: string }).code : ended.source.value.kind;
      const there =
        ended.destination.status === 'fulfilled' && ended.destination.value.kind === 'arrived'
          ? ended.destination.value.machine
          : null;
      ends.add(how);
      if (how === 'migration-link') {
        t.equal(there, null, `${bytes} bytes: nobody else has it`);
        await runsOn(source);
      } else {
        t.ok(await standsStill(source), `${bytes} bytes: ${how}, the source stands still`);
        if (there) await runsOn(there);
        else t.equal(how, 'migration-unknown');
      }
      there?.[Symbol.dispose]();
      source[Symbol.dispose]();
    }
    t.same([...ends].sort(), ['completed', 'migration-link', 'migration-unknown']);
  },
);

void t.test('cut anywhere in the stream, the source goes on and the destination has nothing', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = writer(kvm, 32);
  await runsOn(source);
  for (const bytes of [0, 3, 24, 40, 5000, 40_000, 90_000, 140_000]) {
    const ended = await migrate(source, realizer(kvm), {
      parameters: { ...parameters, 'max-bandwidth': 20_000_000, 'downtime-limit': 1 },
      tamper: cutAfter('destination', bytes),
    });
    t.match(ended.source, { reason: { code: 'migration-link' } }, `${bytes} bytes`);
    t.match(ended.destination, { reason: { code: 'migration-link' } });
    await runsOn(source);
  }
});

void t.test('a destination that reads nothing more, or says nothing more, is given up in time', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = writer(kvm, 256);
  await runsOn(source);
  const never = new Promise<null>(() => undefined);
  for (const [side, from] of [
    ['destination', 100_000],
    ['source', 40],
  ] as const) {
    let seen = 0;
    const ended = migrate(source, realizer(kvm), {
      parameters: { ...parameters, 'silence-limit': 300 },
      // It would give up at the same time, and which of the two is first is not told here.
      silenceMs: 5000,
      tamper: (chunk, to) => {
        if (to === side) seen += chunk.length;
        return to === side && seen > from ? never : chunk;
      },
    });
    t.match((await ended).source, { reason: { code: 'migration-link', message: /silent for 300 ms/ } }, side);
    await runsOn(source);
  }
});

void t.test('one byte changed anywhere: refused by its checksum, and the source hears of it', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = writer(kvm, 32);
  await runsOn(source);
  for (const place of [0, 9, 30, 2000, 30_000, 100_000]) {
    let at = 0;
    const ended = await migrate(source, realizer(kvm), {
      parameters,
      tamper: (chunk, to) => {
        const offset = place - at;
        if (to === 'source') return chunk;
        at += chunk.length;
        if (offset < 0 || offset >= chunk.length) return chunk;
        const changed = Buffer.from(chunk);
        changed[offset]! ^= 0x10;
        return changed;
      },
    });
    t.match(ended.destination, { reason: { code: 'bad-container' } }, `byte ${place}`);
    const { source: end } = ended;
    t.ok(
      end.status === 'rejected'
        ? (end.reason as { code: string }).code === 'migration-link'
        : end.value.kind === 'refused',
      JSON.stringify(end),
    );
    await runsOn(source);
  }
});
