import t from 'tap';
import { cpuCondition, cpuNumber, featuresOfCondition } from './cpu-condition.js';
import { CpuFacts } from './cpu-facts.js';
import { CpuidTable } from './cpuid.js';

const row = (
  leaf: number,
  subleaf: number | null,
  registers: Partial<Record<'eax' | 'ebx' | 'ecx' | 'edx', number>>,
) => ({
  ...{ leaf, subleaf, eax: 0, ebx: 0, ecx: 0, edx: 0 },
  ...registers,
});
const INTEL = row(0, null, { eax: 0xd, ebx: 0x756e6547, ecx: 0x6c65746e, edx: 0x49656e69 });
/** Family 6, model 0x55; VMX; KVM's leaves above Hyper-V's. */
const cpu = new CpuFacts(
  new CpuidTable([
    INTEL,
    row(1, null, { eax: 0x50654, ecx: 1 << 5 }),
    row(7, 0, { ebx: 1 << 1 }),
    row(0xa, null, { eax: 0x0730_0402, edx: 3 }),
    row(0x40000000, null, { eax: 0x40000005 }),
    row(0x40000001, null, { eax: 0x31237648 }),
    row(0x40000003, null, { eax: 1 << 5 }),
    row(0x40000100, null, { ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x4d }),
    row(0x40000101, null, { eax: 1 << 3 }),
  ]),
  ['tsx-ctrl'],
);

void t.test('conditions hold or not by vendor, family, CPUID, hypervisor leaves and features', async (t) => {
  const hold = [
    'always',
    'intel',
    'family=6',
    'model>=0x55',
    '7.0.EBX[1]',
    '1.ECX[5] & kvm[3]',
    'hyperv.EAX[5]',
    'tsx-ctrl',
  ];
  const fail = ['never', 'amd', 'family>6', 'model<0x55', '7.0.EBX[2]', '1.ECX[5] & kvm[4]', 'hyperv.EAX[4]', 'pmu'];
  for (const condition of hold) t.ok(cpuCondition(condition)(cpu), condition);
  for (const condition of fail) t.notOk(cpuCondition(condition)(cpu), condition);
  for (const condition of fail) t.ok(cpuCondition(`!(${condition})`)(cpu), condition);
  t.ok(cpuCondition('amd & never | intel')(cpu), '& binds closer than |');
  t.notOk(cpuCondition('intel & (amd | never)')(cpu));
  t.ok(cpuCondition('A.EAX[7:0]>=2')(cpu));
  t.notOk(cpuCondition('80000001.EDX[29]')(cpu), 'a row that is not there');
});

void t.test('numbers are CPUID fields, multiplied where it says so', async (t) => {
  t.equal(cpuNumber('A.EAX[15:8]')(cpu), 4);
  t.equal(cpuNumber('A.EDX[4:0]*2')(cpu), 6);
  t.equal(cpuNumber('model')(cpu), 0x55);
});

void t.test('what is malformed is an error, not a condition that never holds', async (t) => {
  for (const bad of [
    '',
    'intel &',
    '(intel',
    'intel)',
    'family=',
    '7.EBX[1]',
    '1.0.EDX[2]',
    '1.EFX[2]',
    'A.EAX[7:0]>=x',
  ])
    t.throws(() => cpuCondition(bad), RangeError, bad);
});

void t.test('the features of a condition can be listed', async (t) => {
  t.same(featuresOfCondition('1.ECX[5] & (vmx-ept | vmx-vpid) & !pmu & intel & family>=6'), [
    'vmx-ept',
    'vmx-vpid',
    'pmu',
  ]);
});
