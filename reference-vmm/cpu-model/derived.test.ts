import fc from 'fast-check';
import t from 'tap';
import { type CpuidRow, CpuidTable, type Register } from '../../corpora/cpuid.js';
import { derivedTable, POWER_ON } from './derived.js';

const row = (leaf: number, subleaf: number | null, registers: Partial<Record<Register, number>>): CpuidRow => ({
  ...{ leaf, subleaf, eax: 0, ebx: 0, ecx: 0, edx: 0 },
  ...registers,
});
const XSAVE = 1 << 26;
/** Sizes and offsets of a CPU with AVX-512 and PKRU, as Intel has them (SDM vol. 1, 13.4 and 13.5). */
const LEAF_D = [
  row(0xd, 0, { eax: 0x2e7, ecx: 0xa88 }),
  row(0xd, 1, { eax: 0xf }),
  row(0xd, 2, { eax: 0x100, ebx: 0x240 }),
  row(0xd, 5, { eax: 0x40, ebx: 0x440 }),
  row(0xd, 6, { eax: 0x200, ebx: 0x480 }),
  row(0xd, 7, { eax: 0x400, ebx: 0x680 }),
  row(0xd, 9, { eax: 8, ebx: 0xa80 }),
  row(0xd, 11, { eax: 0x10, ecx: 1 }),
];
const TABLE = new CpuidTable([row(1, null, { ecx: XSAVE, edx: 1 << 9 }), row(7, 0, { ecx: 1 << 3 }), ...LEAF_D]);

void t.test('at power-on: x87 only, nothing enabled, APIC on', async (t) => {
  const seen = derivedTable(TABLE, POWER_ON);
  t.equal(seen.value(1, null, 'ecx'), XSAVE);
  t.equal(seen.value(1, null, 'edx'), 1 << 9);
  t.equal(seen.value(7, 0, 'ecx'), 1 << 3);
  t.equal(seen.value(0xd, 0, 'ebx'), 0x240);
  t.equal(seen.value(0xd, 1, 'ebx'), 0x240);
});

void t.test('with all enabled the sizes are those of real hardware', async (t) => {
  const seen = derivedTable(TABLE, { cr4: (1n << 18n) | (1n << 22n), xcr0: 0x2e7n, xss: 1n << 11n, apicBase: 0n });
  t.equal(seen.value(1, null, 'ecx'), (XSAVE | (1 << 27)) >>> 0);
  t.equal(seen.value(1, null, 'edx'), 0);
  t.equal(seen.value(7, 0, 'ecx'), (1 << 3) | (1 << 4));
  t.equal(seen.value(0xd, 0, 'ebx'), 0xa88);
  t.equal(seen.value(0xd, 1, 'ebx'), 0x240 + 0x100 + 0x40 + 0x200 + 0x400 + 8 + 0x10);
  t.equal(derivedTable(TABLE, { ...POWER_ON, xcr0: 7n }).value(0xd, 0, 'ebx'), 0x340, 'AVX alone');
});

void t.test('a feature that the table does not have is never shown as enabled', async (t) => {
  const without = new CpuidTable([row(1, null, {}), row(7, 0, {}), row(0xd, 1, { eax: 1, ebx: 5 })]);
  const seen = derivedTable(without, { cr4: ~0n, xcr0: 7n, xss: 0n, apicBase: 1n << 11n });
  t.strictSame(seen.toJSON(), without.toJSON());
});

void t.test('all other fields stay, whatever the state', async (t) => {
  const word = fc.bigInt(0n, 2n ** 64n - 1n);
  const DERIVED = new Set(['1.ecx', '1.edx', '7.ecx', '13.ebx']);
  fc.assert(
    fc.property(word, word, word, word, (cr4, xcr0, xss, apicBase) => {
      const seen = derivedTable(TABLE, { cr4, xcr0, xss, apicBase });
      for (const before of TABLE)
        for (const register of ['eax', 'ebx', 'ecx', 'edx'] as const)
          if (!DERIVED.has(`${before.leaf}.${register}`) || (before.subleaf ?? 0) > 1)
            t.equal(seen.value(before.leaf, before.subleaf, register), before[register]);
    }),
    { seed: 1, numRuns: 30 },
  );
});
