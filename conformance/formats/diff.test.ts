import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { CpuidTable, REGISTERS } from '../../corpora/cpuid.js';
import { type DumpDiff, diffDumps } from './diff.js';
import { differenceLine } from './diff-text.js';
import type { Difference } from './difference.js';
import { type Absent, type CpuDump, type DumpedCpu, dumpOf, type NamedCpu } from './dump.js';
import { anyDump, dumpsOf, numberedPlace } from './dumps.arbitrary.js';

const TABLE: Absent = { row: 'none', msr: 'none' };
const whole = dumpsOf({ absent: TABLE, cpus: 'many', leaf: numberedPlace(), msrs: 'faults' });
const noNames = (): null => null;

const flipped = (side: 'a' | 'b'): 'a' | 'b' => (side === 'a' ? 'b' : 'a');

/** A difference as the comparison the other way round tells it. */
function mirrored(difference: Difference): Difference {
  if ('onlyIn' in difference) return { ...difference, onlyIn: flipped(difference.onlyIn) };
  const swapped = { ...difference, a: difference.b, b: difference.a } as Difference;
  if (!('bits' in swapped)) return swapped;
  return { ...swapped, bits: swapped.bits.map((bit) => ({ ...bit, a: bit.b, b: bit.a })) } as Difference;
}

void t.test('a dump does not differ from itself', async () => {
  fc.assert(
    fc.property(anyDump, (dump) => assert.deepEqual(diffDumps(dump, dump, noNames).differences, [])),
    { seed: 1 },
  );
});

void t.test('both directions tell the same', async () => {
  const sorted = (differences: readonly Difference[]): string[] =>
    differences
      .map((difference) =>
        JSON.stringify(difference, (_, value: unknown) => (typeof value === 'bigint' ? `${value}` : value)),
      )
      .sort();
  fc.assert(
    fc.property(anyDump, anyDump, (a, b) => {
      const there = diffDumps(a, b, noNames);
      const back = diffDumps(b, a, noNames);
      assert.deepEqual(sorted(back.differences.map(mirrored)), sorted(there.differences));
      assert.deepEqual([back.compared, back.open], [there.compared, there.open]);
    }),
    { seed: 1 },
  );
});

void t.test('each single bit that changes is told, alone and at its place', async () => {
  const bit = fc.record({
    cpu: fc.nat(),
    row: fc.nat(),
    register: fc.constantFrom(...REGISTERS),
    bit: fc.integer({ min: 0, max: 31 }),
  });
  fc.assert(
    fc.property(
      whole.filter(({ cpus }) => cpus.every(({ cpuid }) => cpuid.size > 0)),
      bit,
      (dump, at) => {
        const cpu = dump.cpus[at.cpu % dump.cpus.length]!;
        const row = cpu.cpuid.rows[at.row % cpu.cpuid.size]!;
        const changed = { ...row, [at.register]: (row[at.register] ^ (1 << at.bit)) >>> 0 };
        const cpuid = new CpuidTable(cpu.cpuid.rows.map((one) => (one === row ? changed : one)));
        const other = { ...dump, cpus: dump.cpus.map((one) => (one === cpu ? { ...cpu, cpuid } : one)) };
        const { differences } = diffDumps(dump, other, (place, bit) => `${JSON.stringify(place)} ${bit}`);
        const field = { leaf: row.leaf, subleaf: row.subleaf, register: at.register };
        const [a, b] = (row[at.register] >>> at.bit) & 1 ? [1, 0] : [0, 1];
        const bits = [{ bit: at.bit, a, b, name: `${JSON.stringify(field)} ${at.bit}` }];
        assert.deepEqual(differences, [
          { kind: 'register', cpu: cpu.index, field, a: row[at.register], b: changed[at.register], bits },
        ]);
      },
    ),
    { seed: 1 },
  );
});

void t.test('each row, MSR or CPU that one side lacks is told', async () => {
  fc.assert(
    fc.property(whole, (dump) => {
      for (const cpu of dump.cpus) {
        const without = (change: Partial<DumpedCpu>): DumpDiff =>
          diffDumps(
            dump,
            { ...dump, cpus: dump.cpus.map((one) => (one === cpu ? { ...cpu, ...change } : one)) },
            noNames,
          );
        for (const row of cpu.cpuid)
          assert.equal(
            without({ cpuid: new CpuidTable(cpu.cpuid.rows.filter((one) => one !== row)) }).differences.length,
            1,
          );
        for (const msr of cpu.msrs)
          assert.equal(
            without({ msrs: cpu.msrs.filter((one) => one !== msr) }).differences.length,
            'fault' in msr ? 0 : 1,
          );
        if (dump.cpus.length > 1)
          assert.deepEqual(
            diffDumps(dump, { ...dump, cpus: dump.cpus.filter((one) => one !== cpu) }, noNames).differences,
            [{ kind: 'cpu', cpu: cpu.index, onlyIn: 'a' }],
          );
      }
    }),
    { seed: 1, numRuns: 30 },
  );
});

const row = { leaf: 7, subleaf: 0, eax: 0, ebx: 0b110, ecx: 0, edx: 0 };
const mask = (ebx: number): CpuidTable => new CpuidTable([{ ...row, eax: 0, ebx, ecx: 0, edx: 0 }]);
const cpu = (value: number, pinned: CpuidTable | null): DumpedCpu => ({
  index: 0,
  cpuid: new CpuidTable([{ ...row, ebx: value }]),
  mask: pinned,
  msrs: [],
});
const template = (value: number, pinned: number): CpuDump =>
  dumpOf([cpu(value, mask(pinned))], { row: 'host', msr: 'default' });

void t.test('a template is compared with a table by the bits that it pins', async (t) => {
  const table = dumpOf([cpu(0b110, null)], TABLE);
  t.match(diffDumps(template(0b010, 0b011), table, noNames), { differences: [], compared: 2, open: 126 });
  t.match(diffDumps(template(0b001, 0b001), table, noNames).differences, [
    { kind: 'register', bits: [{ bit: 0, a: 1, b: 0 }] },
  ]);
});

void t.test('two templates differ where only one pins a bit', async (t) => {
  const { differences } = diffDumps(template(0b010, 0b011), template(0b010, 0b010), () => 'bmi1');
  t.match(differences, [{ kind: 'register', bits: [{ bit: 0, a: 0, b: null }] }]);
  t.equal(differenceLine(differences[0]!), 'CPU 0: 7.0.EBX 0x00000002 in A, 0x00000002 in B: only A pins bmi1');
});

void t.test('a row that a KVM table lacks is compared with what KVM answers', async (t) => {
  const leaf0 = { leaf: 0, subleaf: null, eax: 7, ebx: 0x68747541, ecx: 0x444d4163, edx: 0x69746e65 };
  const table = dumpOf([{ index: 0, cpuid: new CpuidTable([leaf0]), mask: null, msrs: [] }], {
    row: 'answered',
    msr: 'none',
  });
  const seen = (eax: number): CpuDump =>
    dumpOf(
      [
        {
          index: 0,
          cpuid: new CpuidTable([leaf0, { leaf: 7, subleaf: 1, eax, ebx: 0, ecx: 0, edx: 0 }]),
          mask: null,
          msrs: [],
        },
      ],
      TABLE,
    );
  t.strictSame(diffDumps(table, seen(0), noNames).differences, []);
  t.match(diffDumps(table, seen(16), noNames).differences, [
    { kind: 'register', field: { leaf: 7, subleaf: 1 }, a: 0, b: 16 },
  ]);
});

void t.test('dumps that say nothing of the same thing compare nothing', async (t) => {
  const named: NamedCpu = {
    mode: 'custom',
    model: 'Nehalem',
    vendor: null,
    features: [{ name: 'aes', policy: 'require' }],
    offered: [],
  };
  const names = { ...dumpOf([], { row: 'open', msr: 'open' }), named };
  t.match(diffDumps(names, dumpOf([cpu(1, null)], TABLE), noNames), { differences: [], compared: 0, open: 129 });
});

void t.test('names are compared by policy, in both directions', async (t) => {
  const named = (features: NamedCpu['features'], model = 'Nehalem'): CpuDump => ({
    ...dumpOf([], { row: 'open', msr: 'open' }),
    named: { mode: 'custom', model, vendor: null, features, offered: [] },
  });
  const { differences } = diffDumps(
    named([{ name: 'aes', policy: 'require' }]),
    named([{ name: 'vmx', policy: 'disable' }], 'Westmere'),
    noNames,
  );
  t.strictSame(differences.map(differenceLine), [
    'model: Nehalem in A, Westmere in B',
    'feature aes: require in A, not named in B',
    'feature vmx: not named in A, disable in B',
  ]);
});
