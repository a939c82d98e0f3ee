import fc from 'fast-check';
import t from 'tap';
import { containerLength, decodeContainer, encodeContainer } from './container.js';

const sections = fc.array(
  fc.record({ type: fc.nat(9), payload: fc.uint8Array({ maxLength: 60 }) }, { noNullPrototype: true }),
  { maxLength: 4 },
);
const encoded = sections.map((list) => Buffer.concat(encodeContainer('snapshot', list)));

void t.test('what was encoded is decoded', async (t) => {
  fc.assert(
    fc.property(sections, (list) => {
      const back = decodeContainer(Buffer.concat(encodeContainer('snapshot', list)), 'snapshot', 'x');
      t.strictSame(
        back.map(({ type, payload }) => ({ type, payload: [...payload] })),
        list.map(({ type, payload }) => ({ type, payload: [...payload] })),
      );
    }),
    { seed: 1, numRuns: 30 },
  );
});

void t.test('any byte changed, and any cut, is refused', async (t) => {
  fc.assert(
    fc.property(encoded, fc.nat(), fc.integer({ min: 1, max: 255 }), (bytes, place, flip) => {
      const changed = Buffer.from(bytes);
      changed[place % bytes.length]! ^= flip;
      t.throws(() => decodeContainer(changed, 'snapshot', 'x'), { code: 'bad-container' });
      t.throws(() => decodeContainer(bytes.subarray(0, place % bytes.length), 'snapshot', 'x'), {
        code: 'bad-container',
      });
    }),
    { seed: 2, numRuns: 100 },
  );
});

void t.test('another kind, and a length over the limit, are refused from the header alone', async (t) => {
  const bytes = Buffer.concat(encodeContainer('migration stream', []));
  t.throws(() => decodeContainer(bytes, 'snapshot', 'guest.snapshot'), /guest\.snapshot: not a snapshot/);
  bytes.writeBigUInt64LE(1n << 60n, 16);
  t.throws(() => containerLength(bytes, 'migration stream', 'x', 1 << 30), /claims 1152921504606846976 bytes/);
});
