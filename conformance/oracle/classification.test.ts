/**
 * Field classification: in what guests of 50 pairs see, every bit of every CPUID answer and of every MSR is flipped, one at a time. The
 * oracle must name each at its place; those that it lets pass are exactly the ones of a list that people reviewed.
 */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { type CpuidRow, CpuidTable, fieldName, REGISTERS } from '../../corpora/cpuid.js';
import { featureName } from '../../corpora/features.js';
import { hex32, parseHex32 } from '../../corpora/hex.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import { msrDictionary, msrIndices } from '../../corpora/msrs.js';
import type { ObservedMsr, VcpuObservation } from '../../corpora/observation.js';
import { packageFile } from '../../corpora/package-root.js';
import type { Reason } from '../../corpora/verdict.js';
import { loadVolatility, volatileBits } from '../../corpora/volatility/volatility.js';
import { resetMsrs } from '../../reference-vmm/cpu-model/msrs.js';
import { realModels, resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { type CompareContext, compareDumps, compareVcpu, type ExpectedVcpu } from '../compare.js';
import { RESET_STATE, simulateVcpu } from './simulate.js';

const volatility = loadVolatility();
const context: CompareContext & { sameBoot: boolean } = {
  ...{ volatility, nameOf: featureName, step: 'boot', answerer: 'kvm', sameBoot: false },
};

const NEWEST = 'pc-i440fx-11.1';
const OTHERS: readonly (readonly [machine: string, cpu: string])[] = [
  ['pc-1.0', 'Nehalem'],
  ['pc-i440fx-2.4', 'Haswell'],
  ['pc-q35-2.12', 'EPYC'],
  ['pc-i440fx-2.1', 'core2duo'],
  // With MSRs that no model has by itself.
  ['pc-q35-7.2', 'Nehalem,+hv-relaxed,+hv-vapic,+hv-time,+hv-vpindex,+hv-runtime,+hv-frequencies'],
  ['pc-q35-7.2', 'EPYC,+kvm-poll-control,+kvm-asyncpf-int'],
];
const MODELS = realModels(NEWEST);
/** Models from all over the newest machine type, and the others. */
const PAIRS = [
  ...Array.from({ length: 50 - OTHERS.length }, (_, i, all = 50 - OTHERS.length) => {
    return [NEWEST, MODELS[Math.floor((i * MODELS.length) / all)]!] as const;
  }),
  ...OTHERS,
];

interface Guest {
  readonly name: string;
  readonly expected: ExpectedVcpu;
  readonly seen: VcpuObservation;
}

/** What the last vCPU of a pair must see, and does. */
function guestOf([machine, cpu]: readonly [machine: string, cpu: string], i: number): Guest {
  const identity: CpuIdentity = resolve({ machine, cpu, smp: i % 2 ? '8c4t2' : '1' });
  const { index, apicId, cpuid } = identity.vcpus.at(-1)!;
  const msrs = resetMsrs(identity, { vcpu: index });
  return {
    name: identity.pair,
    expected: { index, apicId, cpuid, msrs, otherMsrs: 'denied', rowsBeyondMaximum: 'different' },
    seen: simulateVcpu(cpuid, { ...RESET_STATE, index, msrs }, volatility, 'kvm'),
  };
}

const guests = PAIRS.map(guestOf);

const names = (row: CpuidRow, register: string, bit: number) => (reason: Reason) =>
  reason.code === 'cpuid-changed' &&
  reason.leaf === hex32(row.leaf) &&
  reason.subleaf === (row.subleaf === null ? null : hex32(row.subleaf)) &&
  reason.register === register &&
  reason.bit === bit;

void t.test('50 pairs: a faithful guest shows no difference', async (t) => {
  t.equal(new Set(guests.map(({ name }) => name)).size, 50);
  for (const { name, expected, seen } of guests) t.same(compareVcpu(expected, seen, context), [], name);
});

void t.test('every bit of every CPUID answer, flipped alone, is named: no survivor', async (t) => {
  const survivors: string[] = [];
  const done = new Set<string>();
  let flips = 0;
  for (const [i, { name, expected, seen }] of guests.entries())
    for (const row of seen.cpuid) {
      const own = rowsFor(row, expected.cpuid);
      // Answers that the contract has no row for: of one pair.
      if (!own && i !== 1) continue;
      // The same row of another pair is judged by the same.
      const key = JSON.stringify([row, own?.rows]);
      if (done.has(key)) continue;
      done.add(key);
      const alone = own ? { ...expected, cpuid: own } : expected;
      for (const register of REGISTERS)
        for (let bit = 0; bit < 32; bit++) {
          const flipped = { ...row, [register]: (row[register] ^ (1 << bit)) >>> 0 };
          const reasons = compareVcpu(alone, { ...seen, cpuid: [flipped], msrs: [] }, context);
          flips++;
          if (!reasons.some(names(row, register, bit)))
            survivors.push(`${name} ${fieldName({ ...row, register }, bit)}`);
        }
    }
  t.same(survivors, []);
  t.ok(flips > 50_000, `${flips} flips`);
});

/** Of a table what one of its rows is judged by; null where it has no such row. */
function rowsFor({ leaf, subleaf }: CpuidRow, table: CpuidTable): CpuidTable | null {
  if (!table.get(leaf, subleaf)) return null;
  return new CpuidTable(table.rows.filter((row) => row.leaf === leaf || row.leaf === 0));
}

/** The list that people reviewed. */
const reviewed = JSON.parse(readFileSync(packageFile('corpora/volatility/survivors.json'), 'utf8')) as {
  readonly entries: readonly { readonly msr: string; readonly reason: string }[];
};

void t.test(
  'every bit of every MSR, flipped alone: the survivors are exactly those of the reviewed list',
  async (t) => {
    const survivors = new Set<number>();
    const caught = new Set<number>();
    for (const { expected, seen } of guests)
      for (const msr of expected.msrs) {
        if (!('value' in msr)) continue;
        const alone: ExpectedVcpu = { ...expected, cpuid: new CpuidTable([]), msrs: [msr] };
        const read = (got: ObservedMsr) =>
          compareVcpu(alone, { ...seen, cpuid: [], msrs: [got] }, context).some(
            ({ msr: named }) => named === hex32(msr.index),
          );
        for (let bit = 0n; bit < 64n; bit++)
          (read({ index: msr.index, value: msr.value ^ (1n << bit) }) ? caught : survivors).add(msr.index);
        for (const fault of ['#GP', '#UD'] as const)
          if (!read({ index: msr.index, fault })) t.fail(`${hex32(msr.index)}: ${fault} is not named`);
      }
    const listed = reviewed.entries.map(({ msr }) => parseHex32(msr)).sort((a, b) => a - b);
    const timed = msrDictionary()
      .filter(({ volatility: { class: kind }, index }) => ['time', 'host'].includes(kind) && Number(index) !== 0x6e0)
      .flatMap(msrIndices)
      .sort((a, b) => a - b);
    t.same(timed, listed, 'MSRs of time and of the host are the list');
    t.same([...survivors].filter((index) => !listed.includes(index)).map(hex32), []);
    t.same([...survivors].filter((index) => caught.has(index)).map(hex32), [], 'all bits of an MSR, or none');
    t.ok(caught.size > 150, `${caught.size} MSRs`);
  },
);

void t.test('every bit of every register, flipped alone between two dumps, is caught', async (t) => {
  const survivors: string[] = [];
  for (const { name, seen } of guests.filter((_, i) => i % 5 === 0))
    for (const register of ['cr0', 'cr4'] as const)
      for (let bit = 0; bit < 32; bit++) {
        const later = { ...seen, [register]: (seen[register] ^ (1 << bit)) >>> 0 };
        const reasons = compareDumps(seen, later, context).filter(({ code }) => code === 'register-changed');
        const own = reasons.some(({ message }) => message.startsWith(register.toUpperCase()));
        if (!own) survivors.push(`${name} ${register}[${bit}]`);
      }
  // A guest without machine checks cannot own CR4.MCE.
  t.same(
    survivors.filter((one) => !/\/(486-v1|base) cr4\[6\]$/.test(one)),
    [],
  );
});

void t.test(
  'what differs between vCPUs of one guest is what the volatility data calls per-vcpu, and nothing else',
  async (t) => {
    const found = new Set<string>();
    const wrong = new Set<string>();
    for (const [machine, cpu] of PAIRS) {
      const [first, ...others] = resolve({ machine, cpu, smp: '8c4t2' }).vcpus;
      for (const { cpuid } of others)
        for (const row of cpuid.rows)
          for (const register of REGISTERS) {
            const differing = (row[register] ^ first!.cpuid.value(row.leaf, row.subleaf, register)) >>> 0;
            const known = volatileBits(volatility, 'per-vcpu', { ...row, register });
            if (differing) found.add(`${row.leaf.toString(16)} ${register}`);
            if (differing & ~known) wrong.add(fieldName({ ...row, register }));
          }
    }
    t.same([...wrong], []);
    t.same([...found].sort(), ['1 ebx', '1f edx', '8000001e eax', '8000001e ebx', 'b edx']);
  },
);
