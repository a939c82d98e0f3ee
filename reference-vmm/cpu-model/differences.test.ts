import fc from 'fast-check';
import t from 'tap';
import { CpuidTable, REGISTERS } from '../../corpora/cpuid.js';
import { alterations, shortfallNames, shortfallReasons } from './differences.js';

const u32 = fc.nat(0xffff_ffff);
const rows = fc.uniqueArray(
  fc.record(
    { leaf: fc.nat(9), subleaf: fc.option(fc.nat(3)), eax: u32, ebx: u32, ecx: u32, edx: u32 },
    { noNullPrototype: true },
  ),
  { selector: ({ leaf, subleaf }) => `${leaf}.${subleaf}`, minLength: 1, maxLength: 12 },
);
const named = { step: 'boot', vcpu: 0, nameOf: (_: unknown, bit: number) => `bit-${bit}` };
const unnamed = { step: 'boot', vcpu: 0, nameOf: () => undefined };

void t.test('a table does not differ from itself', async (t) => {
  fc.assert(
    fc.property(rows, (list) => {
      t.strictSame(alterations(new CpuidTable(list), new CpuidTable(list), named), []);
    }),
    { seed: 1, numRuns: 30 },
  );
});

void t.test('one flipped bit, anywhere, is one reason that names it', async (t) => {
  fc.assert(
    fc.property(rows, fc.nat(), fc.constantFrom(...REGISTERS), fc.nat(31), (list, which, register, bit) => {
      const at = which % list.length;
      const changed = list.map((row, i) =>
        i === at ? { ...row, [register]: (row[register] ^ (1 << bit)) >>> 0 } : row,
      );
      const found = alterations(new CpuidTable(list), new CpuidTable(changed), named);
      t.match(found, [{ code: 'cpuid-altered', register, bit, feature: `bit-${bit}`, layer: 'kernel' }]);
      t.equal(found.length, 1);
      t.equal(alterations(new CpuidTable(list), new CpuidTable(changed), unnamed).length, 1);
    }),
    { seed: 2, numRuns: 200 },
  );
});

void t.test('a row that comes or goes is named, also where it is all zero', async (t) => {
  const zero = { leaf: 7, subleaf: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const one = { ...zero, leaf: 1, subleaf: null };
  const [small, large] = [new CpuidTable([one]), new CpuidTable([one, { ...zero, ebx: 1 << 3 }])];
  t.match(alterations(small, new CpuidTable([one, zero]), named), [
    {
      leaf: '0x00000007',
      subleaf: '0x00000000',
      register: null,
      code: 'cpuid-row-added',
      message: 'CPUID 7.0: row added by the kernel',
    },
  ]);
  t.match(alterations(small, large, named), [{ register: null }, { register: 'ebx', bit: 3 }]);
  t.match(alterations(large, small, named), [
    { code: 'cpuid-row-removed', register: null, message: 'CPUID 7.0: row removed by the kernel' },
    { register: 'ebx', bit: 3, message: 'CPUID 7.0.EBX[3] (bit-3): contract 1, kernel shows 0' },
  ]);
});

void t.test('a shortfall names its features, or the place of bits without a name', async (t) => {
  const found = [
    {
      kind: 'feature' as const,
      leaf: 7,
      subleaf: 0,
      register: 'ebx' as const,
      wanted: 0x21,
      offered: 1,
      missing: 0x20,
      inCpu: 0x20,
    },
  ];
  t.strictSame(
    shortfallNames(found, () => 'avx2'),
    ['avx2'],
  );
  t.strictSame(
    shortfallNames(found, () => undefined),
    ['7.0.EBX[5]'],
  );
  t.match(shortfallReasons(found, { ...named, nameOf: () => 'avx2' }), [
    {
      code: 'cpuid-not-offered',
      bit: 5,
      layer: 'kernel',
      message: 'CPUID 7.0.EBX[5] (avx2): contract 1, host offers 0',
    },
  ]);
  t.match(shortfallReasons([{ ...found[0]!, inCpu: 0 }], named), [{ layer: 'host-cpu' }]);
});
