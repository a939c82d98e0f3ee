import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { CpuFacts } from '../cpu-facts.js';
import { CpuidTable } from '../cpuid.js';
import { hostRegisterBits, loadVolatility, msrClass, unmatchedEntries, volatileBits } from './volatility.js';

const volatility = loadVolatility();
const SCHEMA = 'guest-abi/volatility-cpuid/1';
const sound = { class: 'per-vcpu', leaf: '0x1', register: 'ebx', bits: '0xff000000', reason: 'APIC id', source: 'SDM' };

/** A corpus of one CPUID entry. */
function corpusOf(t: { testdir: () => string }, entry: object): string {
  const folder = mkdtempSync(join(t.testdir(), 'volatility-'));
  writeFileSync(join(folder, 'cpuid.json'), JSON.stringify({ schema: SCHEMA, entries: [entry] }));
  const registers = { schema: 'guest-abi/volatility-registers/1', entries: [] };
  writeFileSync(join(folder, 'registers.json'), JSON.stringify(registers));
  return folder;
}

void t.test('bits and classes are found by place', async (t) => {
  t.equal(volatileBits(volatility, 'per-vcpu', { leaf: 1, subleaf: null, register: 'ebx' }), 0xff000000);
  t.equal(
    volatileBits(volatility, 'per-vcpu', { leaf: 0xb, subleaf: 1, register: 'edx' }),
    0xffffffff,
    'every subleaf',
  );
  t.equal(volatileBits(volatility, 'derived', { leaf: 7, subleaf: 1, register: 'ecx' }), 0, 'subleaf 0 only');
  t.equal(volatileBits(volatility, 'per-vcpu', { leaf: 1, subleaf: null, register: 'ecx' }), 0);
  t.equal(msrClass(volatility, 0x10), 'time');
  t.equal(msrClass(volatility, 0x176), 'guest-owned');
  t.equal(msrClass(volatility, 0x177), 'constant');
});

void t.test('an entry that matches nothing is found', async (t) => {
  const table = new CpuidTable([{ leaf: 1, subleaf: null, eax: 0, ebx: 0, ecx: 0, edx: 0 }]);
  t.same(
    unmatchedEntries(volatility, [table]),
    volatility.cpuid.filter(({ leaf }) => leaf !== 1),
  );
});

void t.test("a register bit is the host's only for guests that cannot own it", async (t) => {
  const cpu = (edx: number) =>
    new CpuFacts(new CpuidTable([{ leaf: 1, subleaf: null, eax: 0, ebx: 0, ecx: 0, edx }]), []);
  const MCE = 0x80;
  t.equal(hostRegisterBits(volatility, 'cr4', cpu(0)), 0x40);
  t.equal(hostRegisterBits(volatility, 'cr4', cpu(MCE)), 0);
  t.equal(hostRegisterBits(volatility, 'cr0', cpu(0)), 0);
});

void t.test('an entry that says too little or something unknown is refused', async (t) => {
  t.equal(loadVolatility(corpusOf(t, sound)).cpuid.length, 1);
  const { source: _, ...sourceless } = sound;
  const bad = [
    sourceless,
    { ...sound, reason: '' },
    { ...sound, class: 'varying' },
    { ...sound, bits: '0x0' },
    { ...sound, register: 'esi' },
    { ...sound, subleaves: '0x1' },
    { ...sound, rule: 'osxsave' },
    { ...sound, class: 'derived' },
  ];
  for (const entry of bad)
    t.throws(() => loadVolatility(corpusOf(t, entry)), { code: 'bad-volatility' }, JSON.stringify(entry));
});
