import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { type CpuidRow, CpuidTable } from '../../corpora/cpuid.js';
import { loadVolatility } from '../../corpora/volatility/volatility.js';
import { derivedTable } from '../../reference-vmm/cpu-model/derived.js';
import { DERIVED_RULES, type DerivingState, withDerivedBits } from './derived-bits.js';

const row = (leaf: number, subleaf: number | null, eax: number, ebx = 0, ecx = 0, edx = 0): CpuidRow => ({
  ...{ leaf, subleaf, eax, ebx, ecx, edx },
});
const volatility = loadVolatility();
/** XSAVE, PKU, HLE and RTM; components x87, SSE, AVX, PKRU at Intel's offset, one aligned supervisor component. */
const table = new CpuidTable([
  row(1, null, 0, 0, 0x04000000, 0x00000200),
  row(7, 0, 0, 0x00000810, 0x00000008),
  row(0xd, 0, 0x207, 0xdead, 0xa88),
  row(0xd, 1, 0xf, 0xdead, 0x100),
  row(0xd, 2, 0x100, 0x240),
  row(0xd, 8, 0x80, 0, 3),
  row(0xd, 9, 8, 0xa80),
]);
const fresh: DerivingState = { cr4: 0, xcr0: null, xss: 0n, apicBase: 0xfee00900n, msrs: [] };
const shown = (change: Partial<DerivingState>): CpuidTable =>
  withDerivedBits(table, { ...fresh, ...change }, volatility);

void t.test('every rule has data and every datum has a rule', async (t) => {
  const named = volatility.cpuid.flatMap(({ rule }) => rule ?? []).sort();
  t.same(named, Object.keys(DERIVED_RULES).sort());
});

void t.test('a fresh vCPU shows no enable bits, and the size for x87', async (t) => {
  const seen = shown({});
  t.equal(seen.value(1, null, 'ecx'), 0x04000000);
  t.equal(seen.value(1, null, 'edx'), 0x00000200);
  t.equal(seen.value(7, 0, 'ecx'), 0x00000008);
  t.equal(seen.value(0xd, 0, 'ebx'), 0x240);
  t.equal(seen.value(0xd, 1, 'ebx'), 0x240);
});

void t.test('CR4 shows in OSXSAVE and OSPKE', async (t) => {
  t.equal(shown({ cr4: 1 << 18 }).value(1, null, 'ecx'), 0x0c000000);
  t.equal(shown({ cr4: 1 << 22 }).value(7, 0, 'ecx'), 0x00000018);
});

void t.test('XCR0 and XSS show in the sizes', async (t) => {
  const avx = shown({ xcr0: 7n });
  t.same([avx.value(0xd, 0, 'ebx'), avx.value(0xd, 1, 'ebx')], [0x340, 0x340]);
  const all = shown({ xcr0: 0x207n, xss: 0x100n });
  t.equal(all.value(0xd, 0, 'ebx'), 0xa88, 'standard format: the last offset and size');
  t.equal(
    all.value(0xd, 1, 'ebx'),
    0x340 + 0x80 + 8,
    'compacted: one after the other, the aligned one is aligned already',
  );
  t.equal(shown({ xcr0: 7n, xss: '#GP' }).value(0xd, 1, 'ebx'), 0x340);
});

void t.test('a disabled APIC hides its bit, a set TSX_CPUID_CLEAR hides HLE and RTM', async (t) => {
  t.equal(shown({ apicBase: 0xfee00100n }).value(1, null, 'edx'), 0);
  t.equal(shown({ msrs: [{ index: 0x122, value: 2n }] }).value(7, 0, 'ebx'), 0);
  t.equal(shown({ msrs: [{ index: 0x122, value: 0n }] }).value(7, 0, 'ebx'), 0x810);
});

void t.test('without the feature there is nothing to show', async (t) => {
  const bare = new CpuidTable([row(1, null, 0), row(7, 0, 0), row(0xd, 0, 0), row(0xd, 1, 0)]);
  const seen = withDerivedBits(bare, { ...fresh, cr4: -1 >>> 0, xcr0: 7n }, volatility);
  t.strictSame(seen.toJSON(), bare.toJSON());
});

void t.test("in every state the monitor's own computation agrees", async () => {
  const features = fc.record({ xsave: fc.boolean(), pku: fc.boolean(), compact: fc.nat(15) });
  const state = fc.record({
    cr4: fc.integer({ min: 0, max: 0xffffffff }),
    xcr0: fc.bigInt({ min: 0n, max: 0x3ffn }),
    xss: fc.bigInt({ min: 0n, max: 0x1ffn }),
    apicBase: fc.constantFrom(0xfee00900n, 0xfee00100n),
  });
  fc.assert(
    fc.property(features, state, ({ xsave, pku, compact }, vcpu) => {
      const given = new CpuidTable(
        table.rows.map((one) => {
          if (one.leaf === 1 && !xsave) return { ...one, ecx: 0 };
          if (one.leaf === 7 && !pku) return { ...one, ecx: 0 };
          return one.leaf === 0xd && one.subleaf === 1 ? { ...one, eax: compact } : one;
        }),
      );
      const ours = withDerivedBits(given, { ...vcpu, msrs: [] }, volatility);
      assert.deepEqual(ours.toJSON(), derivedTable(given, { ...vcpu, cr4: BigInt(vcpu.cr4) }).toJSON());
    }),
    { seed: 0x6742, numRuns: 300 },
  );
});
