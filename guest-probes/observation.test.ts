import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { isIndexedLeaf } from '../corpora/cpuid.js';
import { CHECKSUM_BLOCK, RECORD_CAP, recordChecksum, SECTION } from '../corpora/probe-abi.js';
import { encodeRecord, seal } from './encode-record.js';
import { decodeRecord, type ProbeRecord } from './observation.js';
import { RecordAssembler } from './record-assembler.js';

const SEED = { seed: 0x6742, numRuns: 60 };
const plainObject = { noNullPrototype: true };
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const outcome = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.constantFrom('#GP' as const, '#UD' as const));
const msr = fc
  .record({ index: u32, outcome }, plainObject)
  .map(({ index, outcome: o }) => (typeof o === 'string' ? { index, fault: o } : { index, value: o }));
const cpuid = fc
  .uniqueArray(
    fc.record({ leaf: fc.oneof(fc.integer({ min: 0, max: 0x24 }), u32), ecx: fc.nat(9), eax: u32, edx: u32 }),
    {
      selector: ({ leaf, ecx }) => (isIndexedLeaf(leaf) ? `${leaf}.${ecx}` : `${leaf}`),
      maxLength: 20,
    },
  )
  .map((rows) =>
    rows.map(({ leaf, ecx, eax, edx }) => ({
      ...{ leaf, subleaf: isIndexedLeaf(leaf) ? ecx : null },
      ...{ eax, ebx: edx, ecx: eax, edx },
    })),
  );
const record: fc.Arbitrary<ProbeRecord> = fc.record(
  {
    observation: fc.record(
      {
        ...{ index: fc.nat(3), apicId: fc.nat(254), sequence: u32, cr0: u32, cr4: u32 },
        ...{ efer: outcome, apicBase: outcome, xss: outcome, xcr0: fc.option(outcome) },
        ...{ cpuid, msrs: fc.uniqueArray(msr, { selector: ({ index }) => index, maxLength: 10 }) },
      },
      plainObject,
    ),
    bootProtocol: fc.constantFrom('multiboot' as const, 'pvh' as const),
    cpuidCapped: fc.boolean(),
    write: fc.option(msr),
  },
  plainObject,
);
const refused = { name: 'MachineError', code: 'bad-probe-record' };

await t.test('a record decodes to what was encoded', async () => {
  fc.assert(
    fc.property(record, (given) => {
      assert.deepEqual(decodeRecord(encodeRecord(given)), given);
    }),
    SEED,
  );
});

await t.test('a CPUID place or an MSR that stands twice is refused, whatever it says the second time', async (t) => {
  const [whole] = fc.sample(record, { seed: 1, numRuns: 1 }) as [ProbeRecord];
  const row = { leaf: 0x77, subleaf: null, eax: 1, ebx: 2, ecx: 3, edx: 4 };
  const place = { index: 0x77, value: 1n };
  const withTwice = (more: Partial<ProbeRecord['observation']>): Uint8Array =>
    encodeRecord({ ...whole, observation: { ...whole.observation, ...more } });
  t.throws(() => decodeRecord(withTwice({ cpuid: [row, { ...row, eax: 5 }] })), {
    ...refused,
    message: /place stands twice/,
  });
  t.throws(() => decodeRecord(withTwice({ msrs: [place, { ...place, value: 2n }] })), {
    ...refused,
    message: /MSR stands twice/,
  });
});

await t.test('any one byte changed is refused', async () => {
  fc.assert(
    fc.property(record, fc.nat(), fc.integer({ min: 1, max: 255 }), (given, at, change) => {
      const bytes = encodeRecord(given);
      bytes[at % bytes.length]! ^= change;
      assert.throws(() => decodeRecord(bytes), refused);
    }),
    { ...SEED, numRuns: 500 },
  );
});

await t.test('any cut and any byte too many is refused', async (t) => {
  const bytes = encodeRecord(fc.sample(record, { seed: 7, numRuns: 1 })[0]!);
  for (let length = 0; length < bytes.length; length++)
    t.throws(() => decodeRecord(bytes.subarray(0, length)), refused);
  t.throws(() => decodeRecord(new Uint8Array([...bytes, 0, 0, 0, 0])), refused);
});

await t.test('words that move to another block change the checksum', async (t) => {
  const words = Array.from({ length: 40 }, (_, i) => i + 1);
  const sums = (list: readonly number[]) => recordChecksum(new DataView(seal(list).buffer), list.length * 4);
  const before = sums(words);
  for (let by = CHECKSUM_BLOCK; by < words.length; by++) {
    const moved = [...words];
    [moved[0], moved[by]] = [moved[by]!, moved[0]!];
    t.notSame(sums(moved), before, `0 and ${by} change places`);
  }
  t.notSame(sums([...words.slice(CHECKSUM_BLOCK), ...words.slice(0, CHECKSUM_BLOCK)]), before, 'blocks change places');
});

await t.test('a well-sealed record that says something impossible is refused', async (t) => {
  const plain = fc.sample(record, { seed: 9, numRuns: 1 })[0]!;
  const registers = { efer: '#GP' as const, apicBase: 1n, xss: 2n, xcr0: null };
  const given = { ...plain, write: null, observation: { ...plain.observation, ...registers } };
  const words = (): number[] => {
    const bytes = encodeRecord(given);
    return [...new Uint32Array(bytes.slice(0, -8).buffer)];
  };
  const cases: Record<string, (record: number[]) => void> = {
    version: (w) => w.splice(1, 1, 1),
    'unknown flag': (w) => w.splice(5, 1, 0x80),
    'XCR0 flag without its section': (w) => w.splice(5, 1, 1),
    'sections out of order': (w) => w.splice(6, 1, SECTION.msrs),
    'a section longer than the record': (w) => w.splice(7, 1, 0xfffffff0),
    'a section that overflows 32 bits': (w) => w.splice(7, 1, 0xffffffff),
    'another register MSR': (w) => w.splice(12, 1, 0x1b),
    'another number of register MSRs': (w) => w.splice(11, 1, 2),
    'an unknown fault': (w) => w.splice(22, 1, 14),
    'a fault of an MSR that was not read': (w) => w.splice(21, 1, 0x10),
  };
  t.ok(decodeRecord(seal(words())), 'the record itself is sound');
  for (const [name, change] of Object.entries(cases)) {
    const changed = words();
    change(changed);
    t.throws(() => decodeRecord(seal(changed)), refused, name);
  }
});

await t.test('records come out whole whatever the pieces', async () => {
  fc.assert(
    fc.property(
      fc.array(record, { maxLength: 4 }),
      fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 }),
      (all, cuts) => {
        const assembler = new RecordAssembler();
        const stream = Buffer.concat(all.map(encodeRecord));
        const got: ProbeRecord[] = [];
        for (let at = 0, i = 0; at < stream.length; i++) {
          const size = cuts[i % cuts.length]!;
          got.push(...assembler.push(stream.subarray(at, at + size)));
          at += size;
        }
        t.strictSame(got, all);
        t.equal(assembler.pending, 0);
      },
    ),
    SEED,
  );
});

await t.test('bytes that cannot become a record are refused as soon as a header is there', async (t) => {
  t.throws(() => new RecordAssembler().push(Buffer.from('SeaBIOS (version 1.16)..')), refused);
  const huge = Buffer.from(encodeRecord(fc.sample(record, { seed: 7, numRuns: 1 })[0]!));
  huge.writeUInt32LE(RECORD_CAP + 4, 8);
  t.throws(() => new RecordAssembler().push(huge), refused);
});
