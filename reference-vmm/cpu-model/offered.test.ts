import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { type CpuidRow, CpuidTable, type Register } from '../../corpora/cpuid.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { FEATURE_WORDS, shortfalls } from './offered.js';

const row = (leaf: number, subleaf: number | null, registers: Partial<Record<Register, number>>): CpuidRow => ({
  ...{ leaf, subleaf, eax: 0, ebx: 0, ecx: 0, edx: 0 },
  ...registers,
});
const table = (...rows: CpuidRow[]): CpuidTable => new CpuidTable(rows);
const empty = table();

const host = (more: Partial<HostCapabilities>): HostCapabilities => ({
  facts: {
    ...{ kernel: '6.12', kernelVersion: '', module: 'kvm_amd', moduleParameters: {} },
    ...{ cpuVendor: 'AuthenticAMD', cpuModel: '', microcode: null },
  },
  ...{ supportedCpuid: empty, emulatedCpuid: empty, hostCpuid: empty, cpuidAdditions: empty },
  ...{ msrIndices: [], featureMsrs: [], capabilities: {} },
  ...more,
});

void t.test('every bit of a feature word must be offered: exactly the others are missing', async (t) => {
  const bits = fc.nat(0xffff_ffff);
  // The words to which nothing is added.
  const plain = FEATURE_WORDS.filter(([leaf]) => [0x19, 0x8000000a, 0x80000008, 0xc0000001].includes(leaf));
  t.ok(plain.length >= 4);
  fc.assert(
    fc.property(fc.constantFrom(...plain), bits, bits, ([leaf, subleaf, register], wanted, offered) => {
      const found = shortfalls(
        table(row(leaf, subleaf, { [register]: wanted })),
        host({ supportedCpuid: table(row(leaf, subleaf, { [register]: offered })) }),
      );
      const missing = (wanted & ~offered) >>> 0;
      t.strictSame(
        found.map((each) => each.missing),
        missing === 0 ? [] : [missing],
      );
    }),
    { seed: 1, numRuns: 200 },
  );
});

void t.test('a leaf that the host does not have offers nothing', async (t) => {
  t.match(shortfalls(table(row(7, 0, { ebx: 1 })), host({})), [{ kind: 'feature', register: 'ebx', missing: 1 }]);
});

void t.test('what KVM never lists may be exposed all the same', async (t) => {
  const HT = 1 << 28;
  const HYPERVISOR = 1 << 31;
  const TSC_DEADLINE = 1 << 24;
  const always = table(
    row(1, null, { ecx: HYPERVISOR >>> 0, edx: HT }),
    row(6, null, { eax: 4 }),
    row(0x80000001, null, { ecx: 1 << 22 }),
  );
  t.strictSame(shortfalls(always, host({})), []);
  const deadline = table(row(1, null, { ecx: TSC_DEADLINE }));
  t.match(shortfalls(deadline, host({})), [{ missing: TSC_DEADLINE }]);
  t.strictSame(shortfalls(deadline, host({ capabilities: { KVM_CAP_TSC_DEADLINE_TIMER: 1 } })), []);
});

void t.test('AMD repeats 1.EDX in 80000001.EDX: what an Intel host has there may be exposed here', async (t) => {
  const SYSCALL_NX_LM = 0x2010_0800;
  const ALIASES = 0x0183_f3ff;
  const PAGE_1G = 0x0400_0000;
  const wanted = table(row(0x80000001, null, { edx: SYSCALL_NX_LM | ALIASES | PAGE_1G }));
  const intel = [row(1, null, { edx: 0x178b_fbff }), row(0x80000001, null, { edx: SYSCALL_NX_LM })];
  t.match(shortfalls(wanted, host({ supportedCpuid: table(...intel) })), [{ missing: PAGE_1G }]);
  t.match(shortfalls(wanted, host({ supportedCpuid: table(intel[1]!) })), [{ missing: PAGE_1G | ALIASES }]);
});

void t.test('optimizations are offered where the CPU has them', async (t) => {
  const ERMS = 1 << 9;
  const wanted = table(row(7, 0, { ebx: ERMS }));
  t.strictSame(shortfalls(wanted, host({ hostCpuid: table(row(7, 0, { ebx: ERMS })) })), []);
  t.match(shortfalls(wanted, host({})), [{ missing: ERMS }]);
});

void t.test('arch-capabilities needs its MSR', async (t) => {
  const ARCH_CAPABILITIES = 1 << 29;
  const wanted = table(row(7, 0, { edx: ARCH_CAPABILITIES }));
  t.match(shortfalls(wanted, host({ supportedCpuid: wanted })), [{ missing: ARCH_CAPABILITIES }]);
  t.strictSame(shortfalls(wanted, host({ supportedCpuid: wanted, msrIndices: [0x10a] })), []);
});

void t.test('XSAVE components must stand where the CPU has them', async (t) => {
  const PKRU_INTEL = row(0xd, 9, { eax: 8, ebx: 0xa80 });
  const PKRU_AMD = row(0xd, 9, { eax: 8, ebx: 0x980 });
  t.strictSame(shortfalls(table(PKRU_AMD), host({ hostCpuid: table(PKRU_AMD) })), []);
  t.match(shortfalls(table(PKRU_INTEL), host({ hostCpuid: table(PKRU_AMD) })), [
    { kind: 'xsave-layout', register: 'ebx', wanted: 0xa80, offered: 0x980 },
  ]);
});

void t.test("a PMU leaf must be the host's, or zero", async (t) => {
  const pmu = table(row(0xa, null, { eax: 0x0730_0402, edx: 0x603 }));
  t.strictSame(shortfalls(table(row(0xa, null, {})), host({})), []);
  t.strictSame(shortfalls(pmu, host({ supportedCpuid: pmu })), []);
  t.match(shortfalls(pmu, host({})), [
    { kind: 'content', register: 'eax' },
    { kind: 'content', register: 'edx' },
  ]);
});

const captures = fileURLToPath(new URL('../../../../shared/ground-truth/host-captures', import.meta.url));
void t.test(
  'every captured host offers what its own kernel supports',
  { skip: !existsSync(captures) && 'no ground truth beside this tree' },
  async (t) => {
    interface Raw {
      leaf: string;
      subleaf: string;
      eax: string;
      ebx: string;
      ecx: string;
      edx: string;
      flags?: number;
    }
    const read = (rows: readonly Raw[]): CpuidTable =>
      new CpuidTable(
        rows.map(({ leaf, subleaf, eax, ebx, ecx, edx, flags }) => ({
          ...{ leaf: Number(leaf), subleaf: flags ? Number(subleaf) : null },
          ...{ eax: Number(eax), ebx: Number(ebx), ecx: Number(ecx), edx: Number(edx) },
        })),
      );
    for (const cpu of ['EPYC', 'EPYC-Genoa', 'EPYC-Turin-forced'])
      for (const kernel of readdirSync(`${captures}/${cpu}`)) {
        const capture = JSON.parse(gunzipSync(readFileSync(`${captures}/${cpu}/${kernel}`)).toString()) as {
          supportedCpuid: readonly Raw[];
          msrIndexList: readonly string[];
        };
        const supportedCpuid = read(capture.supportedCpuid);
        const msrIndices = capture.msrIndexList.map(Number);
        t.strictSame(shortfalls(supportedCpuid, host({ supportedCpuid, msrIndices })), [], `${cpu} ${kernel}`);
      }
  },
);
