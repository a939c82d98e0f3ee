import t from 'tap';
import { type CpuidRow, CpuidTable, REGISTERS } from '../corpora/cpuid.js';
import type { ObservedMsr, VcpuObservation } from '../corpora/observation.js';
import { loadVolatility } from '../corpora/volatility/volatility.js';
import {
  type CompareContext,
  compareDumps,
  compareObservations,
  compareVcpu,
  compareWithIdentity,
  type ExpectedVcpu,
} from './compare.js';
import { RESET_STATE, simulateVcpu } from './oracle/simulate.js';

const row = (leaf: number, subleaf: number | null, eax: number, ebx = 0, ecx = 0, edx = 0): CpuidRow => ({
  ...{ leaf, subleaf, eax, ebx, ecx, edx },
});

const VENDORS = {
  GenuineIntel: [0x756e6547, 0x6c65746e, 0x49656e69],
  AuthenticAMD: [0x68747541, 0x444d4163, 0x69746e65],
} as const;

/** A small CPU with every kind of leaf: plain, caches, levels, XSAVE components, hypervisor, extended. */
const tableFor = (vendor: keyof typeof VENDORS): CpuidTable => {
  const [ebx, ecx, edx] = VENDORS[vendor];
  return new CpuidTable([
    row(0, null, 0xd, ebx, ecx, edx),
    row(1, null, 0x000106a3, 0x03010800, 0x86b82203, 0x178bfbff),
    row(2, null, 1, 0, 0x4d, 0x2c307d),
    row(4, 0, 0x121, 0x1c0003f, 0x3f, 1),
    row(4, 1, 0x122, 0x1c0003f, 0x3f, 1),
    row(4, 2, 0),
    row(7, 0, 1, 0x1a9, 8),
    row(7, 1, 0x10),
    row(0xb, 0, 1, 2, 0x100, 3),
    row(0xb, 1, 3, 8, 0x201, 3),
    row(0xd, 0, 0x207, 0x340, 0xa88),
    row(0xd, 1, 0xf, 0x240),
    row(0xd, 2, 0x100, 0x240),
    row(0xd, 9, 8, 0xa80),
    row(0x40000000, null, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d),
    row(0x40000001, null, 0x01007efb),
    row(0x80000000, null, 0x80000008),
    row(0x80000001, null, 0, 0, 1, 0x28100800),
    row(0x80000008, null, 0x3028, 0x1000),
  ]);
};

const msrs: readonly ObservedMsr[] = [
  { index: 0x10, value: 1000n },
  { index: 0x277, value: 0x0007040600070406n },
  { index: 0x8b, value: 0n },
];
const context: CompareContext & { sameBoot: boolean } = {
  volatility: loadVolatility(),
  nameOf: ({ leaf, register }, bit) => (leaf === 0x80000008 && register === 'ebx' && bit === 12 ? 'ibpb' : undefined),
  ...{ step: 'boot', answerer: 'kvm', sameBoot: true },
};
const expectedOf = (cpuid: CpuidTable): ExpectedVcpu => ({
  ...{ index: 0, apicId: 3, cpuid, msrs, otherMsrs: 'denied', rowsBeyondMaximum: 'different' },
});
const observe = (cpuid: CpuidTable, state: Partial<VcpuObservation> = {}): VcpuObservation =>
  simulateVcpu(cpuid, { ...RESET_STATE, msrs, ...state }, context.volatility, 'kvm');

for (const vendor of Object.keys(VENDORS) as (keyof typeof VENDORS)[]) {
  const table = tableFor(vendor);
  const seen = observe(table);
  const differences = (changed: VcpuObservation) => compareVcpu(expectedOf(table), changed, context);

  void t.test(`${vendor}: a faithful observation has no difference`, async (t) => {
    t.same(differences(seen), []);
    t.same(differences(observe(table, { cr4: 1 << 18, xcr0: 0x207n })), [], 'after OSXSAVE and XCR0 are set');
  });

  void t.test(`${vendor}: every bit of every CPUID answer, flipped, is caught at its place`, async (t) => {
    const missed: string[] = [];
    seen.cpuid.forEach((answer, i) => {
      for (let bit = 0; bit < 32; bit++) {
        const flipped = REGISTERS.map((register) => [register, (answer[register] ^ (1 << bit)) >>> 0]);
        const cpuid = seen.cpuid.with(i, { ...answer, ...Object.fromEntries(flipped) });
        const caught = differences({ ...seen, cpuid }).map((one) => `${Number(one.leaf)} ${one.register} ${one.bit}`);
        const all = REGISTERS.map((register) => `${answer.leaf} ${register} ${bit}`);
        if (caught.join() !== all.join()) missed.push(`${answer.leaf}.${answer.subleaf} bit ${bit}`);
      }
    });
    t.same(missed, []);
    t.ok(seen.cpuid.length > 100);
  });

  void t.test(`${vendor}: each answer of a contract row, left out, is caught`, async (t) => {
    for (const { leaf, subleaf } of table) {
      const cpuid = seen.cpuid.filter((one) => one.leaf !== leaf || one.subleaf !== subleaf);
      t.equal(cpuid.length, seen.cpuid.length - 1);
      t.match(differences({ ...seen, cpuid }), [{ code: 'cpuid-not-observed' }], `${leaf.toString(16)}.${subleaf}`);
    }
  });

  void t.test(`${vendor}: each row that the contract lacks is caught where the guest shows it`, async (t) => {
    for (const { leaf, subleaf, ...answer } of table) {
      if (leaf === 0 || Object.values(answer).every((value) => value === 0)) continue;
      const without = new CpuidTable(table.rows.filter((one) => one.leaf !== leaf || one.subleaf !== subleaf));
      const reasons = compareVcpu(expectedOf(without), seen, context);
      t.ok(
        reasons.some((one) => one.code === 'cpuid-changed'),
        `${leaf.toString(16)}.${subleaf}`,
      );
    }
    const more = [...seen.cpuid, row(4, 9, 0, 0, 0, 1)];
    t.match(differences({ ...seen, cpuid: more }), [{ code: 'cpuid-changed', subleaf: '0x00000009', register: 'edx' }]);
  });
}

const table = tableFor('GenuineIntel');
const seen = observe(table);
const expected = expectedOf(table);

void t.test('a named bit is told with its name, other bits as the register', async (t) => {
  const i = seen.cpuid.findIndex(({ leaf }) => leaf === 0x80000008);
  const withEbx = (ebx: number) =>
    compareVcpu(expected, { ...seen, cpuid: seen.cpuid.with(i, { ...seen.cpuid[i]!, ebx }) }, context);
  t.match(withEbx(0), [
    { bit: 12, feature: 'ibpb', contract: '0x00001000', message: 'CPUID 80000008.EBX[12] (ibpb): contract 1, guest 0' },
  ]);
  t.match(withEbx(0x1003), [
    { bit: null, feature: null, message: 'CPUID 80000008.EBX: contract 0x00001000, guest 0x00001003' },
  ]);
});

void t.test('a derived bit that does not follow its state is caught', async (t) => {
  for (const state of [{ cr4: 1 << 18 }, { cr4: 1 << 22 }, { xcr0: 7n }, { apicBase: 0xfee00100n }]) {
    t.match(
      compareVcpu(expected, { ...seen, ...state }, context),
      [{ code: 'cpuid-changed' }],
      Object.keys(state).join(),
    );
  }
});

void t.test('MSRs: each bit, each fault class, each one missing and each one too many is caught', async (t) => {
  const withMsr = (i: number, msr: ObservedMsr) =>
    compareVcpu(expected, { ...seen, msrs: seen.msrs.with(i, msr) }, context);
  msrs.forEach((msr, i) => {
    t.match(withMsr(i, { index: msr.index, fault: '#GP' }), [{ code: 'msr-changed', guest: '#GP' }]);
    const missing = compareVcpu(expected, { ...seen, msrs: seen.msrs.toSpliced(i, 1) }, context);
    t.match(missing, [{ code: 'msr-not-observed' }]);
  });
  for (let bit = 0n; bit < 64n; bit++) {
    t.match(withMsr(2, { index: 0x8b, value: 1n << bit }), [{ code: 'msr-changed', msr: '0x0000008b' }]);
  }
  t.same(withMsr(0, { index: 0x10, value: 5000n }), [], 'time passes');
  const other = (msr: ObservedMsr) => compareVcpu(expected, { ...seen, msrs: [...msrs, msr] }, context);
  t.match(other({ index: 0x345, value: 0n }), [{ code: 'msr-changed', contract: '#GP' }]);
  t.match(other({ index: 0x345, fault: '#UD' }), [{ code: 'msr-changed', contract: '#GP', guest: '#UD' }]);
  t.same(other({ index: 0x345, fault: '#GP' }), []);
});

void t.test('an expected fault must be that fault', async (t) => {
  const denied: ExpectedVcpu = { ...expected, msrs: [...msrs, { index: 0x345, fault: '#UD' }] };
  const read = (msr: ObservedMsr) => compareVcpu(denied, { ...seen, msrs: [...msrs, msr] }, context);
  t.same(read({ index: 0x345, fault: '#UD' }), []);
  t.match(read({ index: 0x345, fault: '#GP' }), [{ code: 'msr-changed', contract: '#UD', guest: '#GP' }]);
});

void t.test('rows beyond the maximum: different in a contract, left alone in what a kernel read back', async (t) => {
  const more = new CpuidTable([...table, row(0x23, 0, 1)]);
  t.match(compareVcpu({ ...expected, cpuid: more }, seen, context), [
    { code: 'cpuid-not-observed', leaf: '0x00000023' },
  ]);
  t.same(compareVcpu({ ...expected, cpuid: more, rowsBeyondMaximum: 'not-compared' }, seen, context), []);
});

void t.test('subleaves beyond the maximum of their leaf likewise, and none below it', async (t) => {
  const readBack = (lastSubleaf: number) =>
    new CpuidTable([
      ...[...table].filter(({ leaf }) => leaf !== 7),
      row(7, 0, lastSubleaf),
      row(7, 1, 0),
      row(7, 2, 0),
    ]);
  // It asked for 7.0 and 7.1.
  const cut = observe(readBack(0));
  const judge = (cpuid: CpuidTable, rowsBeyondMaximum: ExpectedVcpu['rowsBeyondMaximum']) =>
    compareVcpu({ ...expected, cpuid, rowsBeyondMaximum }, cut, context).map(({ code, leaf, subleaf }) => [
      ...[code, leaf, subleaf],
    ]);
  const unread = ['cpuid-not-observed', '0x00000007', '0x00000002'];
  t.same(judge(readBack(0), 'not-compared'), []);
  t.same(judge(readBack(0), 'different'), [unread]);
  t.ok(judge(readBack(2), 'not-compared').some((reason) => String(reason) === String(unread)));
});

void t.test(
  'an answer beyond the maximum follows the leaf that it echoes, not the one that it is asked as',
  async (t) => {
    // Of level 0xB and 7: 0xD echoes the topology of vCPU 3, whose EDX looks like components; 8 echoes OSPKE.
    for (const level of [0xb, 7]) {
      const cut = [...tableFor('GenuineIntel')].filter(({ leaf }) => leaf >= 0x40000000 || leaf <= level);
      const short = new CpuidTable(cut.map((one) => (one.leaf === 0 ? { ...one, eax: level } : one)));
      const [before, after] = [observe(short), observe(short, { cr4: 1 << 22 })];
      const same = { ...after, cr4: before.cr4 };
      t.same(compareDumps(before, before, context), []);
      t.match(
        compareDumps(before, after, context).map(({ code }) => code),
        ['register-changed'],
      );
      t.ok(compareDumps(before, same, context).length > 0, 'a bit that nothing in the state explains');
    }
  },
);

void t.test('vCPUs are matched by number, both ways', async (t) => {
  const identity = { vcpus: [{ index: 0, apicId: 3, cpuid: table }], msrs: [] };
  const bare = { ...seen, msrs: [] };
  const codes = (vcpus: VcpuObservation[]) =>
    compareWithIdentity(identity, { vcpus }, 'denied', context).map(({ code }) => code);
  t.same(codes([bare]), []);
  t.same(codes([]), ['vcpu-not-observed']);
  t.same(codes([bare, { ...bare, index: 1 }]), ['vcpu-not-expected']);
  t.same(codes([bare, bare]), ['vcpu-not-expected']);
  t.same(codes([{ ...bare, apicId: 4 }]), ['apic-id-changed']);
});

void t.test('two dumps: what persists is the same, each register and each bit is caught', async (t) => {
  const later = { ...seen, sequence: 1, msrs: seen.msrs.with(0, { index: 0x10, value: 9000n }) };
  t.same(compareDumps(seen, later, context), []);
  t.same(compareObservations({ vcpus: [seen] }, { vcpus: [later] }, context), []);
  for (const name of ['cr0', 'cr4'] as const) {
    for (let bit = 0; bit < 32; bit++) {
      const changed = { ...later, [name]: (later[name] ^ (1 << bit)) >>> 0 };
      const reasons = compareDumps(seen, changed, context);
      t.ok(
        reasons.some(({ code }) => code === 'register-changed'),
        `${name} ${bit}`,
      );
    }
  }
  for (const change of [
    { efer: 1n },
    { apicBase: 0xfee00100n },
    { xss: 0n },
    { apicId: 2 },
    { xcr0: 1n },
    { efer: '#GP' as const },
  ]) {
    t.ok(compareDumps(seen, { ...later, ...change }, context).length > 0, Object.keys(change).join());
  }
});

void t.test('two dumps: a row that came or went is caught', async (t) => {
  const shorter = observe(new CpuidTable(table.rows.map((one) => (one.leaf === 0 ? { ...one, eax: 7 } : one))));
  t.ok(compareDumps(seen, shorter, context).some(({ code }) => code === 'cpuid-not-observed'));
  t.ok(compareDumps(shorter, seen, context).some(({ code }) => code === 'cpuid-changed'));
});

void t.test('time goes on within one boot, and starts anew with another', async (t) => {
  const at = (value: bigint) => ({ ...seen, msrs: seen.msrs.with(0, { index: 0x10, value }) });
  t.match(compareDumps(at(1000n), at(999n), context), [{ code: 'time-not-kept' }]);
  t.match(compareDumps(at(1000n), at(1n << 60n), context), [{ code: 'time-not-kept' }]);
  t.same(compareDumps(at(1000n), at(999n), { ...context, sameBoot: false }), []);
});
