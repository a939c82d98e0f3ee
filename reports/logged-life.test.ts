/** Dumps in the log: what goes in comes out, tables stand once, and a log that was damaged is refused. */
import t from 'tap';
import { type CpuidRow, CpuidTable } from '../corpora/cpuid.js';
import { type VcpuObservation, vcpuObservationToJson } from '../corpora/observation.js';
import { cell, logOf } from './fixtures.js';
import { type Digest, digestOf, dumpOf, expectationOf, type LoggedTable, logLife } from './logged-life.js';
import { logText } from './merge.js';
import { parseLog } from './result-log.js';

const TSC = 0x10;
const ROWS: readonly CpuidRow[] = [
  { leaf: 0, subleaf: null, eax: 0xd, ebx: 0x756e6547, ecx: 0x6c65746e, edx: 0x49656e69 },
  { leaf: 0x80000008, subleaf: 0, eax: 0xffffffff, ebx: 0, ecx: 1, edx: 0 },
];
const dump = (sequence: number): VcpuObservation => ({
  ...{ index: 0, apicId: 0, sequence, cr0: 0x11, cr4: 0x600, efer: 0n, apicBase: 0xfee00900n, xss: '#GP', xcr0: null },
  cpuid: ROWS,
  msrs: [
    { index: TSC, value: BigInt(sequence + 1) * 1000n },
    { index: 0x48, fault: '#GP' },
    { index: 0xc0000080, value: 0xd01n },
  ],
});

const LIFE = {
  expected: [
    { vcpu: { index: 0, apicId: 0, cpuid: new CpuidTable(ROWS) }, msrs: [{ index: 0x48, fault: '#GP' as const }] },
  ],
  steps: [
    { step: 'boot', vcpus: [dump(0)] },
    { step: 'reset-port', vcpus: [dump(1)] },
  ],
};

const tables = new Map<Digest, LoggedTable>();
const life = logLife(
  LIFE,
  (table) => {
    tables.set(digestOf(table), table);
    return digestOf(table);
  },
  (msr) => msr === TSC,
);
const TEXT = logText({ ...logOf([]), tables, cells: [{ ...cell({}), life }] });

void t.test('dumps come out as they went in', async (t) => {
  const log = parseLog(TEXT, 'run.jsonl');
  const [read] = log.cells;
  const dumps = read!.life!.steps.map(({ vcpus }) => dumpOf(vcpus[0]!, log.tables));
  for (const [i, step] of LIFE.steps.entries()) {
    const { cpuid, msrs, ...registers } = vcpuObservationToJson(step.vcpus[0]!);
    const { cpuid: rows, msrs: own, ...others } = dumps[i]!;
    t.same(others, registers);
    t.same(rows, ROWS);
    t.same(own, step.vcpus[0]!.msrs);
    t.equal(msrs.length, own.length);
    t.equal(cpuid.length, rows.length);
  }
  t.same(expectationOf(read!.life!.expected[0]!, log.tables).cpuid.rows, ROWS);
});

void t.test('tables that are alike stand once, whatever the time stamp counter counts', async (t) => {
  // The contract's CPUID is the guest's; the contract's MSRs are others.
  t.equal(TEXT.split('\n').filter((line) => line.startsWith('{"type":"table"')).length, 3);
});

void t.test(
  'a table that is not what its digest says, has rows of no form, or is missing: refused with the line',
  async (t) => {
    const lines = TEXT.split('\n');
    const first = lines.findIndex((line) => line.startsWith('{"type":"table"'));
    const refuse = (text: string, message: RegExp) =>
      t.throws(() => parseLog(text, 'run.jsonl'), { code: 'bad-result-log', message });
    refuse(TEXT.replace('0000000d 756e6547', '0000000d 756e6546'), new RegExp(`^run\\.jsonl:${first + 1}: .*damaged`));
    refuse(TEXT.replace('0000000d 756e6547', 'd 756e6547'), /rows of another form/);
    refuse(lines.filter((_, i) => i !== first).join('\n'), /names a table that the log does not hold/);
  },
);

void t.test('a field that is not what reports take it for: refused with the line and the field', async (t) => {
  const bad = (change: object, message: RegExp) =>
    t.throws(() => parseLog(logText({ ...logOf([]), tables, cells: [{ ...cell({}), ...change }] }), 'run.jsonl'), {
      code: 'bad-result-log',
      message,
    });
  bad({ pair: 1 }, /^run\.jsonl:\d+: 'pair' of the cell is 1, no text/);
  bad({ hosts: 'local' }, /'hosts' of the cell is "local", no list/);
  bad({ forced: null }, /'forced' of the cell is null/);
  bad({ reasons: [{ code: 'x', step: 'boot' }] }, /'message' of one of 'reasons' of the cell is nothing/);
  bad({ ms: -1 }, /'ms' of the cell is -1/);
  bad({ life: { expected: [] } }, /'steps' of 'life' of the cell is nothing/);
});
