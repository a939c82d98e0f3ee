/** Does a comparator see what it must? Every kind of difference is planted in what faithful guests show; each must be named, alone and at its place. */
import { type CpuidRow, CpuidTable, fieldName, REGISTERS } from '../../corpora/cpuid.js';
import { featureName } from '../../corpora/features.js';
import { hex32 } from '../../corpora/hex.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import type { Observation, ObservedMsr, VcpuObservation } from '../../corpora/observation.js';
import type { Reason } from '../../corpora/verdict.js';
import { loadVolatility } from '../../corpora/volatility/volatility.js';
import { resetMsrs } from '../../reference-vmm/cpu-model/msrs.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import type {
  CompareContext,
  compareObservations,
  compareVcpu,
  compareWithIdentity,
  ExpectedVcpu,
} from '../compare.js';
import { RESET_STATE, simulateVcpu } from './simulate.js';

/** What judges dumps: conformance/compare.ts, or a mutant of it. */
export interface Comparator {
  readonly compareVcpu: typeof compareVcpu;
  readonly compareWithIdentity: typeof compareWithIdentity;
  readonly compareObservations: typeof compareObservations;
}

const volatility = loadVolatility();
const context: CompareContext & { readonly sameBoot: boolean } = {
  ...{ volatility, nameOf: featureName, step: 'boot', answerer: 'kvm', sameBoot: true },
};

interface Guest {
  readonly identity: CpuIdentity;
  readonly seen: Observation;
}

/** Two vendors, several vCPUs; OSXSAVE and XCR0 are set. */
const GUESTS: readonly Guest[] = ['Skylake-Client', 'EPYC'].map((cpu) => {
  const identity = resolve({ machine: 'pc-q35-7.2', cpu, smp: '2' });
  const vcpus = identity.vcpus.map(({ index, cpuid }) => {
    const state = { ...RESET_STATE, index, cr4: 1 << 18, xcr0: 7n, msrs: identity.msrs };
    return simulateVcpu(cpuid, state, volatility, 'kvm');
  });
  return { identity, seen: { vcpus } };
});

/** What the comparator does not see, or says of what is none, the quick checks first. Nothing: it sees everything. */
export function* blindSpots(comparator: Comparator): Generator<string> {
  for (const check of [faithful, time, registers, msrs, rows, vcpus, bits])
    for (const guest of GUESTS) yield* check(comparator, guest);
}

const whole = ({ compareWithIdentity: compare }: Comparator, { identity }: Guest, seen: Observation): Reason[] =>
  compare(identity, seen, 'denied', context);

const unless = (holds: boolean, fault: string): string[] => (holds ? [] : [fault]);

function faithful(comparator: Comparator, guest: Guest): string[] {
  const again = comparator.compareObservations(guest.seen, guest.seen, context);
  const found = [...whole(comparator, guest, guest.seen), ...again];
  return unless(found.length === 0, `a faithful guest: ${found[0]?.message}`);
}

const expectedOf = ({ identity }: Guest, vcpu: number): ExpectedVcpu => ({
  ...identity.vcpus[vcpu]!,
  msrs: resetMsrs(identity, { vcpu }),
  otherMsrs: 'denied',
  rowsBeyondMaximum: 'different',
});

/** Each bit of each row; the rows of one leaf at a time, so that it is quick. */
function* bits({ compareVcpu: compare }: Comparator, guest: Guest): Generator<string> {
  const [seen] = guest.seen.vcpus as [VcpuObservation];
  const expected = { ...expectedOf(guest, 0), msrs: [] };
  for (const row of seen.cpuid) {
    if (!expected.cpuid.get(row.leaf, row.subleaf)) continue;
    const own = expected.cpuid.rows.filter(({ leaf }) => leaf === row.leaf || leaf === 0);
    const alone = { ...expected, cpuid: new CpuidTable(own) };
    for (const register of REGISTERS)
      for (let bit = 0; bit < 32; bit++) {
        const flipped = { ...row, [register]: (row[register] ^ (1 << bit)) >>> 0 };
        const found = compare(alone, { ...seen, cpuid: [flipped], msrs: [] }, context).filter(isChange);
        const right = found.length === 1 && isAt(found[0]!, row, register, bit);
        if (!right) yield `${fieldName({ ...row, register }, bit)} flipped`;
      }
  }
}

const isChange = ({ code }: Reason): boolean => code === 'cpuid-changed';
const isAt = (reason: Reason, { leaf, subleaf }: CpuidRow, register: string, bit: number): boolean =>
  reason.leaf === hex32(leaf) &&
  reason.subleaf === (subleaf === null ? null : hex32(subleaf)) &&
  reason.register === register &&
  reason.bit === bit;

/** A row that is gone, one that came, and a derived bit that does not follow its state. */
function rows({ compareVcpu: compare }: Comparator, guest: Guest): string[] {
  const [seen] = guest.seen.vcpus as [VcpuObservation];
  const expected = expectedOf(guest, 0);
  const judge = (cpuid: readonly CpuidRow[], state: Partial<VcpuObservation> = {}) =>
    compare(expected, { ...seen, ...state, cpuid }, context);
  const added: CpuidRow = { leaf: 4, subleaf: 9, eax: 0, ebx: 0, ecx: 0, edx: 1 };
  return [
    ...expected.cpuid.rows.flatMap((row) => {
      const alone = { ...expected, cpuid: new CpuidTable([row]), msrs: [] };
      const codes = compare(alone, { ...seen, cpuid: [], msrs: [] }, context).map(({ code }) => code);
      return unless(codes.includes('cpuid-not-observed'), `row ${row.leaf.toString(16)}.${row.subleaf} left out`);
    }),
    ...unless(judge([...seen.cpuid, added]).some(isChange), 'a row added'),
    ...unless(judge(seen.cpuid, { cr4: 0 }).some(isChange), 'OSXSAVE without CR4.OSXSAVE'),
    ...unless(judge(seen.cpuid, { xcr0: 1n }).some(isChange), 'D.0.EBX without XCR0'),
  ];
}

function msrs({ compareVcpu: compare }: Comparator, guest: Guest): string[] {
  const [seen] = guest.seen.vcpus as [VcpuObservation];
  const expected = { ...expectedOf(guest, 0), cpuid: new CpuidTable([]) };
  const judge = (read: readonly ObservedMsr[], wanted = expected.msrs) =>
    compare({ ...expected, msrs: wanted }, { ...seen, cpuid: [], msrs: read }, context);
  const PAT = 0x277;
  const at = expected.msrs.findIndex(({ index }) => index === PAT);
  const pat = expected.msrs[at] as { readonly index: number; readonly value: bigint };
  const named = (read: readonly ObservedMsr[], index = PAT): boolean =>
    judge(read).some(({ msr }) => msr === hex32(index));
  const other = (msr: ObservedMsr): boolean => named([...expected.msrs, msr], msr.index);
  const NONE = 0x345;
  return [
    ...Array.from({ length: 64 }, (_, bit) => bit).flatMap((bit) =>
      unless(named(expected.msrs.with(at, { ...pat, value: pat.value ^ (1n << BigInt(bit)) })), `MSR bit ${bit}`),
    ),
    ...unless(named(expected.msrs.with(at, { index: PAT, fault: '#GP' })), 'an MSR that faults'),
    ...unless(named(expected.msrs.toSpliced(at, 1)), 'an MSR that was not read'),
    ...unless(other({ index: NONE, value: 0n }), 'an MSR too many'),
    ...unless(other({ index: NONE, fault: '#UD' }), 'another fault'),
    ...unless(!other({ index: NONE, fault: '#GP' }), 'the right fault is called wrong'),
    ...unless(
      judge([{ index: NONE, fault: '#GP' }], [{ index: NONE, fault: '#UD' }]).length > 0,
      '#GP in place of the #UD that is expected',
    ),
    ...unless(
      named(
        expected.msrs.map((msr) => (msr.index === 0x10 ? { index: 0x10, fault: '#GP' } : msr)),
        0x10,
      ),
      'a TSC that faults',
    ),
  ];
}

function registers(comparator: Comparator, { seen }: Guest): string[] {
  const changed = (change: Partial<VcpuObservation>): boolean => {
    const vcpus = seen.vcpus.with(1, { ...seen.vcpus[1]!, ...change });
    return comparator.compareObservations(seen, { vcpus }, context).length > 0;
  };
  const words = (['cr0', 'cr4'] as const).flatMap((name) =>
    Array.from({ length: 32 }, (_, bit) => bit).flatMap((bit) =>
      unless(changed({ [name]: (seen.vcpus[1]![name] ^ (1 << bit)) >>> 0 }), `${name} bit ${bit}`),
    ),
  );
  const others: Partial<VcpuObservation>[] = [
    { efer: 1n },
    { efer: '#GP' },
    { apicBase: 0xfee00d00n },
    { xss: 1n },
    { xcr0: 1n },
    { xcr0: '#GP' },
  ];
  return [...words, ...others.flatMap((change) => unless(changed(change), `another ${Object.keys(change)[0]}`))];
}

/** A difference on each vCPU, told with its number; one that is missing, too many, twice, or in another's place. */
function vcpus(comparator: Comparator, guest: Guest): string[] {
  const own = guest.seen.vcpus;
  const codes = (list: readonly VcpuObservation[]) => whole(comparator, guest, { vcpus: list }).map(({ code }) => code);
  return [
    ...own.flatMap((vcpu, i) => {
      const first = { ...vcpu.cpuid[0]!, eax: vcpu.cpuid[0]!.eax ^ 1 };
      const list = own.with(i, { ...vcpu, cpuid: vcpu.cpuid.with(0, first) });
      const numbers = new Set(whole(comparator, guest, { vcpus: list }).map((reason) => reason.vcpu));
      return unless(numbers.has(i) && numbers.size === 1, `a difference on vCPU ${i}`);
    }),
    ...unless(codes(own.slice(0, -1)).includes('vcpu-not-observed'), 'a vCPU missing'),
    ...unless(codes([...own, { ...own[0]!, index: own.length }]).includes('vcpu-not-expected'), 'a vCPU too many'),
    ...unless(codes([...own, own[0]!]).includes('vcpu-not-expected'), 'a vCPU twice'),
    ...unless(codes(own.with(1, { ...own[1]!, apicId: 7 })).includes('apic-id-changed'), 'another APIC id'),
  ];
}

function time(comparator: Comparator, { seen }: Guest): string[] {
  const TSC = 0x10;
  const at = (value: bigint): Observation => ({
    vcpus: seen.vcpus.map((vcpu) => ({
      ...vcpu,
      msrs: vcpu.msrs.map((msr) => (msr.index === TSC ? { index: TSC, value } : msr)),
    })),
  });
  const judge = (from: bigint, to: bigint, sameBoot: boolean) =>
    comparator.compareObservations(at(from), at(to), { ...context, sameBoot }).length;
  return [
    ...unless(judge(1000n, 2000n, true) === 0, 'time that goes on is called wrong'),
    ...unless(judge(1000n, 999n, true) > 0, 'time runs backwards'),
    ...unless(judge(1000n, 1n << 60n, true) > 0, 'time leaps'),
    ...unless(judge(1000n, 999n, false) === 0, 'a new boot starts time anew'),
  ];
}
