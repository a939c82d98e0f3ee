import t from 'tap';
import { type CpuidRow, CpuidTable } from '../../corpora/cpuid.js';
import { expectedAnswer } from './expected-cpuid.js';

const row = (leaf: number, subleaf: number | null, eax: number, ebx = 0, ecx = 0, edx = 0): CpuidRow => ({
  ...{ leaf, subleaf, eax, ebx, ecx, edx },
});
const GENUINE_INTEL = [0x756e6547, 0x6c65746e, 0x49656e69] as const;
const AUTHENTIC_AMD = [0x68747541, 0x444d4163, 0x69746e65] as const;

const tableOf = (vendor: readonly number[]): CpuidTable =>
  new CpuidTable([
    row(0, null, 0xb, vendor[0], vendor[1], vendor[2]),
    row(2, null, 1, 0, 0x4d, 0x2c307d),
    row(0xb, 0, 1, 2, 0x100, 5),
    row(0xb, 1, 3, 8, 0x201, 5),
    row(0x40000000, null, 0x40000001, 1, 2, 3),
    row(0x80000000, null, 0x80000008),
  ]);
const intel = tableOf(GENUINE_INTEL);
const amd = tableOf(AUTHENTIC_AMD);
const zeros = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

void t.test('a present row answers, one without subleaf for every ECX', async (t) => {
  t.match(expectedAnswer(intel, 0xb, 1, 'kvm'), { eax: 3, ebx: 8, ecx: 0x201, edx: 5 });
  t.match(expectedAnswer(intel, 2, 7, 'kvm'), { eax: 1, edx: 0x2c307d });
});

void t.test('an absent leaf within its range reads zeros', async (t) => {
  t.same(expectedAnswer(intel, 5, null, 'kvm'), zeros);
  t.same(expectedAnswer(intel, 0x80000002, null, 'kvm'), zeros);
  t.same(expectedAnswer(intel, 0x40000001, null, 'kvm'), zeros);
});

void t.test("a leaf beyond its range reads as an Intel guest's highest basic leaf, at the same ECX", async (t) => {
  for (const leaf of [0xc, 0x40000002, 0x40000100, 0x80000009, 0x8fffffff, 0xc0000000]) {
    t.match(expectedAnswer(intel, leaf, 0, 'kvm'), { eax: 1, ebx: 2, ecx: 0x100, edx: 5 }, leaf.toString(16));
  }
  t.match(expectedAnswer(intel, 0x8fffffff, 1, 'kvm'), { eax: 3, ecx: 0x201 });
});

void t.test("an AMD guest's absent leaves read zeros, under TCG they do not", async (t) => {
  t.same(expectedAnswer(amd, 0x8fffffff, 0, 'kvm'), zeros);
  t.same(expectedAnswer(amd, 0xc, 0, 'kvm'), zeros);
  t.match(expectedAnswer(amd, 0x8fffffff, 0, 'tcg'), { ecx: 0x100, edx: 5 });
});

void t.test('an absent subleaf of the topology leaves passes CL and the x2APIC id', async (t) => {
  t.same(expectedAnswer(amd, 0xb, 2, 'kvm'), { ...zeros, ecx: 2, edx: 5 });
  t.same(expectedAnswer(intel, 0xb, 0x102, 'kvm'), { ...zeros, ecx: 2, edx: 5 });
  t.same(
    expectedAnswer(intel, 0x8fffffff, 3, 'kvm'),
    { ...zeros, ecx: 3, edx: 5 },
    'reached as the highest basic leaf too',
  );
});
