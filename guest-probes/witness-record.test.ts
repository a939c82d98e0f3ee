import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { ABI_VERSION, RECORD_HEADER_BYTES, RECORD_MAGIC } from '../corpora/probe-abi.js';
import { CHANGE, CHANGE_BYTES, CHANGE_CAP, RECORD_FLAG_WITNESS, WITNESS_COUNTERS } from '../corpora/witness-abi.js';
import { seal } from './encode-record.js';
import { changeText, decodeWitness, type WitnessCounters, type WitnessRecord } from './witness-record.js';

const halves = (value: bigint): number[] => [Number(value & 0xffff_ffffn), Number(value >> 32n)];
const [COUNTERS, CHANGES] = [6, 7];

/** The words of a record as the probe writes them, without checksum. */
function words({ index, sequence, seen, ...counted }: Omit<WitnessRecord, 'bootProtocol'>): number[] {
  const rows = seen.flatMap(({ kind, where, part, first, second, pass }) => [
    ...[CHANGE[kind], where, part, 0],
    ...[first, second, pass].flatMap(halves),
  ]);
  const counters = WITNESS_COUNTERS.flatMap((name) => halves(counted[name]));
  const body = [COUNTERS, counters.length * 4, ...counters, CHANGES, rows.length * 4, ...rows];
  const length = RECORD_HEADER_BYTES + body.length * 4 + 8;
  return [RECORD_MAGIC, ABI_VERSION, length, index, sequence, RECORD_FLAG_WITNESS, ...body];
}

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const plainObject = { noNullPrototype: true };
const change = fc.record(
  {
    kind: fc.constantFrom(...(Object.keys(CHANGE) as (keyof typeof CHANGE)[])),
    ...{ where: u32, part: u32, first: u64, second: u64, pass: u64 },
  },
  plainObject,
);
const record: fc.Arbitrary<WitnessRecord> = fc
  .record(
    {
      ...{ index: fc.nat(15), sequence: u32, seen: fc.array(change, { maxLength: 4 }) },
      counted: fc.record(Object.fromEntries(WITNESS_COUNTERS.map((name) => [name, u64])), plainObject),
    },
    plainObject,
  )
  .map(({ counted, seen, ...rest }) => ({
    ...rest,
    bootProtocol: 'multiboot',
    ...(counted as unknown as WitnessCounters),
    ...{ changes: BigInt(seen.length), seen },
  }));
const SEED = { seed: 0x6742, numRuns: 60 };
const refused = { name: 'MachineError', code: 'bad-probe-record' };

void t.test('a record decodes to what was encoded', async () => {
  fc.assert(
    fc.property(record, (given) => assert.deepEqual(decodeWitness(seal(words(given))), given)),
    SEED,
  );
});

void t.test('any byte changed and any cut is refused', async () => {
  fc.assert(
    fc.property(record, fc.nat(), fc.integer({ min: 1, max: 255 }), (given, place, flip) => {
      const bytes = seal(words(given));
      const cut = bytes.subarray(0, place % bytes.length);
      assert.throws(() => decodeWitness(cut), refused);
      bytes[place % bytes.length]! ^= flip;
      assert.throws(() => decodeWitness(bytes), refused);
    }),
    { ...SEED, numRuns: 300 },
  );
});

void t.test('a well-sealed record that says something impossible is refused', async (t) => {
  const row = { kind: 'msr', where: 1, part: 0, first: 1n, second: 2n, pass: 3n } as const;
  const given = { ...fc.sample(record, { seed: 3, numRuns: 1 })[0]!, changes: 1n, seen: [row] };
  t.ok(decodeWitness(seal(words(given))));
  const last = words(given).length - CHANGE_BYTES / 4;
  const cases: Record<string, (record: number[]) => void> = {
    'a record of the other probe': (w) => w.splice(5, 1, 0),
    'an unknown flag': (w) => w.splice(5, 1, RECORD_FLAG_WITNESS | 1),
    'a section too many': (w) => w.splice(6, 1, 1),
    'counters of another length': (w) => w.splice(7, 1, 8),
    'an unknown kind': (w) => w.splice(last, 1, 9),
  };
  for (const [name, damage] of Object.entries(cases)) {
    const damaged = words(given);
    damage(damaged);
    t.throws(() => decodeWitness(seal(damaged)), refused, name);
  }
  t.throws(() => decodeWitness(seal(words({ ...given, changes: 2n }))), refused, 'fewer rows than changes');
  t.throws(() => decodeWitness(seal(words({ ...given, changes: 0n }))), refused, 'more rows than changes');
  const many = Array.from({ length: CHANGE_CAP }, () => row);
  t.equal(decodeWitness(seal(words({ ...given, changes: 1000n, seen: many }))).seen.length, CHANGE_CAP);
});

void t.test('changes in words', async (t) => {
  const values = { first: 0x10n, second: 0n, pass: 7n };
  const say = (kind: keyof typeof CHANGE, where: number, part: number) =>
    changeText(1, { kind, where, part, ...values });
  t.equal(say('cpuid', 0xd, 0x4000_0001), 'vCPU 1: CPUID 0xd.0x1.EBX was 0x10, is 0x0 (pass 7)');
  t.equal(say('msr', 0x174, 13 << 8), 'vCPU 1: MSR 0x174 (fault 0, then 13) was 0x10, is 0x0 (pass 7)');
  t.equal(say('page', 0x203000, 3), 'vCPU 1: memory at 0x203000 (page 3 of its slice) was 0x10, is 0x0 (pass 7)');
  t.equal(say('tsc', 0, 0), 'vCPU 1: TSC was 0x10, is 0x0 (pass 7)');
});
