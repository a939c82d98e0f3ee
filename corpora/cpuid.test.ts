import fc from 'fast-check';
import t from 'tap';
import { CpuidTable, fieldName } from './cpuid.js';

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const row = fc.record(
  { leaf: u32, subleaf: fc.option(u32), eax: u32, ebx: u32, ecx: u32, edx: u32 },
  { noNullPrototype: true },
);
const table = fc
  .uniqueArray(row, { selector: ({ leaf, subleaf }) => `${leaf} ${subleaf}`, maxLength: 20 })
  .map((rows) => new CpuidTable(rows));

void t.test('a table survives its JSON form', async (t) => {
  fc.assert(
    fc.property(table, (before) => {
      t.strictSame(CpuidTable.fromJson(JSON.parse(JSON.stringify(before))).rows, before.rows);
    }),
    { seed: 1, numRuns: 50 },
  );
});

void t.test('two rows at one place are refused', async (t) => {
  const one = { leaf: 7, subleaf: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };
  t.throws(() => new CpuidTable([one, { ...one, ebx: 1 }]), /0x7\.0x0 stands twice/);
});

void t.test('fields are named as the SDM writes them', async (t) => {
  t.equal(fieldName({ leaf: 0x80000008, subleaf: null, register: 'ebx' }, 12), '80000008.EBX[12]');
  t.equal(fieldName({ leaf: 7, subleaf: 1, register: 'eax' }), '7.1.EAX');
});
