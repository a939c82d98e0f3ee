import fc from 'fast-check';
import t from 'tap';
import { GuestMemory, gpa } from './guest-memory.js';

const region = (at: number, length: number) => ({
  ...{ gpa: at, bytes: new Uint8Array(length), readOnly: false, hostAddress: 0n },
});
const LOW = region(0, 0x3000);
const HIGH = region(0xffff_f000, 0x1000);
const memory = new GuestMemory([LOW, HIGH]);

void t.test('bytes are given exactly where all of them are in one region', async (t) => {
  const near = fc.oneof(fc.integer({ min: -10, max: 0x3010 }), fc.integer({ min: 0xffff_eff0, max: 0x1_0000_0010 }));
  fc.assert(
    fc.property(near, fc.integer({ min: -1, max: 0x3010 }), (address, length) => {
      const inside = [LOW, HIGH].some(
        ({ gpa: base, bytes }) => length >= 0 && address >= base && address + length <= base + bytes.length,
      );
      if (inside) t.equal(memory.at(gpa(address), length).length, length);
      else t.throws(() => memory.at(gpa(address), length), { code: 'guest-address' });
    }),
    { seed: 1, numRuns: 300 },
  );
});

void t.test("it is the guest's own memory, not a copy", async (t) => {
  memory.at(gpa(0x1234), 1)[0] = 7;
  t.equal(LOW.bytes[0x1234], 7);
});

void t.test('after drop nothing can be reached', async (t) => {
  const gone = new GuestMemory([region(0, 0x1000)]);
  gone.drop();
  t.throws(() => gone.at(gpa(0), 1), { code: 'guest-address' });
});
