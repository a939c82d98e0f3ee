import fc from 'fast-check';
import t from 'tap';
import { CpuidTable } from '../../corpora/cpuid.js';
import {
  decodeCpuid2,
  decodeMsrs,
  decodeRegs,
  decodeSregs,
  emptyCpuid2,
  encodeCpuid2,
  encodeMsrs,
  encodeRegs,
  encodeSregs,
} from './codec.js';
import { GENERAL_REGISTERS } from './registers.js';

const u32 = fc.nat(0xffff_ffff);
const rows = fc.uniqueArray(
  fc.record({ leaf: u32, subleaf: fc.option(u32), eax: u32, ebx: u32, ecx: u32, edx: u32 }, { noNullPrototype: true }),
  { selector: ({ leaf, subleaf }) => `${leaf}.${subleaf}`, maxLength: 40 },
);

void t.test('registers keep every byte', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 144, maxLength: 144 }), (bytes) => {
      t.strictSame([...encodeRegs(decodeRegs(bytes))], [...bytes]);
      t.equal(Object.keys(decodeRegs(bytes)).length, GENERAL_REGISTERS.length);
    }),
    { seed: 1, numRuns: 30 },
  );
});

void t.test('special registers keep every byte but padding', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 312, maxLength: 312 }), (bytes) => {
      const once = encodeSregs(decodeSregs(bytes));
      t.strictSame([...encodeSregs(decodeSregs(once))], [...once]);
      // A segment's last byte and six bytes behind each table's limit are padding.
      const padding = (at: number) => (at < 192 ? at % 24 === 23 : at < 224 && (at - 192) % 16 >= 10);
      for (const [at, byte] of bytes.entries()) if (!padding(at)) t.equal(once[at], byte, `byte ${at}`);
    }),
    { seed: 2, numRuns: 10 },
  );
});

void t.test('a CPUID table comes back as it was', async (t) => {
  fc.assert(
    fc.property(rows, (list) => {
      const table = new CpuidTable(list);
      t.strictSame(decodeCpuid2(encodeCpuid2(table)).toJSON(), table.toJSON());
    }),
    { seed: 3, numRuns: 50 },
  );
});

void t.test('rows that the kernel did not write are no rows, whatever nent says', async (t) => {
  const row = { leaf: 1, subleaf: null, eax: 1, ebx: 2, ecx: 3, edx: 4 };
  const buffer = emptyCpuid2(10);
  buffer.set(encodeCpuid2(new CpuidTable([row])).subarray(8), 8);
  t.strictSame(decodeCpuid2(buffer).toJSON(), new CpuidTable([row]).toJSON());
});

void t.test('a table with two rows at one place is refused', async (t) => {
  const one = encodeCpuid2(new CpuidTable([{ leaf: 1, subleaf: null, eax: 1, ebx: 2, ecx: 3, edx: 4 }]));
  const two = Buffer.concat([one, one.subarray(8)]);
  two.writeUInt32LE(2, 0);
  t.throws(() => decodeCpuid2(two), { code: 'kvm-cpuid-table' });
});

void t.test('MSRs keep index and value', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ index: u32, value: fc.bigInt(0n, 2n ** 64n - 1n) }, { noNullPrototype: true })),
      (msrs) => {
        t.strictSame(decodeMsrs(encodeMsrs(msrs), msrs.length), msrs);
      },
    ),
    { seed: 4, numRuns: 50 },
  );
});
