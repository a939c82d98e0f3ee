/** What QEMU's own tests of CPUID compatibility and of model versions expect (tests/qtest, tests/functional). */
import t from 'tap';
import { resolve } from './resolve.js';

/** QEMU's tests run on a machine type that is the newest. */
const NEWEST = 'pc';

function propertiesOf(machine: string, cpu: string): { level: number; xlevel: number; xlevel2: number } {
  const { level, xlevel, vcpus } = resolve({ machine, cpu });
  return { level, xlevel, xlevel2: vcpus[0]!.cpuid.value(0xc0000000, null, 'eax') };
}

const CASES: readonly (readonly [
  machine: string,
  cpu: string,
  property: 'level' | 'xlevel' | 'xlevel2',
  value: number,
])[] = [
  ['pc-i440fx-2.7', '486,+arat,+avx512vbmi,+xsaveopt', 'level', 1],
  ['pc-i440fx-2.7', '486,+3dnow,+sse4a,+invtsc,+npt,+svm', 'xlevel', 0],
  ['pc-i440fx-2.7', '486,+xstore', 'xlevel2', 0],
  ['pc-i440fx-1.4', 'Nehalem', 'level', 2],
  ['pc-i440fx-1.4', 'Nehalem,+smap', 'level', 7],
  ['pc-i440fx-2.3', 'Penryn', 'level', 4],
  ['pc-i440fx-2.3', 'Penryn,+erms', 'level', 7],
  ['pc-i440fx-2.9', 'Conroe', 'level', 10],
  ['pc-i440fx-2.9', 'Conroe,+erms', 'level', 10],
  ['pc-i440fx-2.3', 'SandyBridge', 'xlevel', 0x8000000a],
  ['pc-i440fx-2.4', 'SandyBridge', 'xlevel', 0x80000008],
  ['pc-i440fx-2.4', 'SandyBridge,+svm,+npt', 'xlevel', 0x80000008],
  [NEWEST, 'phenom', 'level', 5],
  [NEWEST, 'Conroe', 'level', 10],
  [NEWEST, 'SandyBridge', 'level', 0xd],
  [NEWEST, '486', 'xlevel', 0],
  [NEWEST, 'core2duo', 'xlevel', 0x80000008],
  [NEWEST, 'phenom', 'xlevel', 0x8000001a],
  [NEWEST, 'athlon', 'xlevel', 0x80000008],
  [NEWEST, '486,arat=on', 'level', 6],
  [NEWEST, 'phenom,fsgsbase=on', 'level', 7],
  [NEWEST, 'phenom,avx512vbmi=on', 'level', 7],
  [NEWEST, 'phenom,xsaveopt=on', 'level', 0xd],
  [NEWEST, '486,3dnow=on', 'xlevel', 0x80000001],
  [NEWEST, '486,sse4a=on', 'xlevel', 0x80000001],
  [NEWEST, '486,invtsc=on', 'xlevel', 0x80000007],
  [NEWEST, '486,svm=on,npt=on', 'xlevel', 0x8000000a],
  [NEWEST, 'athlon,svm=on', 'xlevel', 0x8000000a],
  [NEWEST, 'phenom,xstore=on', 'xlevel2', 0xc0000001],
  [NEWEST, 'SandyBridge,arat=on,fsgsbase=on,avx512vbmi=on', 'level', 0xd],
  [NEWEST, '486,level=0xF', 'level', 0xf],
  [NEWEST, '486,level=2', 'level', 2],
  [NEWEST, '486,level=0', 'level', 0],
  [NEWEST, '486,level=0xF,arat=on,fsgsbase=on,avx512vbmi=on,xsaveopt=on', 'level', 0xf],
  [NEWEST, '486,level=2,arat=on,fsgsbase=on,avx512vbmi=on,xsaveopt=on', 'level', 2],
  [NEWEST, 'phenom,3dnow=on,sse4a=on,invtsc=on,npt=on,svm=on', 'xlevel', 0x8000001a],
  [NEWEST, '486,xlevel=0x80000002,3dnow=on,sse4a=on,invtsc=on,npt=on,svm=on', 'xlevel', 0x80000002],
  [NEWEST, '486,xlevel=0x8000001A', 'xlevel', 0x8000001a],
  [NEWEST, '486,xlevel=0,3dnow=on,sse4a=on,invtsc=on,npt=on,svm=on', 'xlevel', 0],
  [NEWEST, '486,xlevel2=0xC0000002,xstore=on', 'xlevel2', 0xc0000002],
];

for (const [machine, cpu, property, value] of CASES) {
  void t.test(`${machine}/${cpu}: ${property} ${value > 0x1000 ? `0x${value.toString(16)}` : value}`, async (t) => {
    t.equal(propertiesOf(machine, cpu)[property], value);
  });
}

void t.test('single bits, and the precedence of flags', async (t) => {
  const has = (cpu: string, feature: string): boolean => resolve({ machine: NEWEST, cpu }).features.includes(feature);
  t.ok(has('486,arat=on', 'arat'));
  t.notOk(has('pentium,-mmx', 'mmx'));
  t.ok(has('qemu64,invtsc=on', 'invtsc'));
  t.notOk(has('486,-sse4_1,+sse4.1,sse4.1=on', 'sse4.1'));
  t.notOk(has('qemu64,cx8=on,-cx8', 'cx8'));
  t.ok(has('486,+aes,aes=off', 'aes'));
});

void t.test('arch-capabilities came to Cascadelake-Server with version 2', async (t) => {
  const has = (machine: string, cpu: string): boolean =>
    resolve({ machine, cpu }).features.includes('arch-capabilities');
  t.notOk(has('pc-i440fx-4.0', 'Cascadelake-Server'));
  t.ok(has('pc-i440fx-4.0', 'Cascadelake-Server,+arch-capabilities'));
  t.notOk(has('pc-i440fx-4.0', 'Cascadelake-Server-v1'));
  t.ok(has('pc-i440fx-4.0', 'Cascadelake-Server-v2'));
  t.ok(has('pc-i440fx-4.0', 'Cascadelake-Server-v1,+arch-capabilities'));
  t.notOk(has('pc-i440fx-4.1', 'Cascadelake-Server'));
  t.notOk(has('pc-i440fx-4.1', 'Cascadelake-Server-v2,-arch-capabilities'));
  t.ok(has('pc-i440fx-4.1', 'Cascadelake-Server-v2'));
});

void t.test('aliases name their version', async (t) => {
  const version = (cpu: string): string => resolve({ machine: NEWEST, cpu }).modelVersion;
  const variants: Record<string, readonly string[]> = {
    Haswell: ['noTSX', 'IBRS', 'noTSX-IBRS'],
    Broadwell: ['noTSX', 'IBRS', 'noTSX-IBRS'],
    EPYC: ['IBPB'],
  };
  for (const model of ['Nehalem', 'Westmere', 'SandyBridge', 'IvyBridge', 'Skylake-Client', 'Skylake-Server'])
    variants[model] = ['IBRS'];
  for (const [model, names] of Object.entries(variants)) {
    t.equal(version(model), `${model}-v1`);
    for (const [i, name] of names.entries()) {
      t.equal(version(`${model}-${name}`), `${model}-v${i + 2}`);
      t.throws(() => version(`${model}-${name}-v1`), /unknown CPU model/);
    }
  }
});

/** Boundaries read off real property maps (first machine type with the new value). */
void t.test('compat properties that still stand in QEMU', async (t) => {
  const value = (
    machine: string,
    cpu: string,
    leaf: number,
    register: 'eax' | 'ebx' | 'ecx' | 'edx',
    subleaf: number | null = null,
  ) => resolve({ machine, cpu }).vcpus[0]!.cpuid.value(leaf, subleaf, register);
  t.match(resolve({ machine: 'pc-i440fx-6.0', cpu: 'qemu64' }).signature, { family: 6, model: 6, stepping: 3 });
  t.match(resolve({ machine: 'pc-i440fx-6.1', cpu: 'qemu64' }).signature, { family: 15, model: 107, stepping: 1 });
  t.equal(value('pc-i440fx-6.0', 'EPYC', 2, 'eax'), 1);
  t.equal(value('pc-i440fx-6.1', 'EPYC', 2, 'eax'), 0, 'x-vendor-cpuid-only');
  t.equal(value('pc-i440fx-10.0', 'Nehalem', 0x80000005, 'eax'), 0x01ff01ff);
  t.equal(value('pc-i440fx-10.1', 'Nehalem', 0x80000005, 'eax'), 0, 'x-vendor-cpuid-only-v2');
  t.equal(value('pc-i440fx-2.7', 'Nehalem', 4, 'eax', 3), 0);
  t.not(value('pc-i440fx-2.8', 'Nehalem', 4, 'eax', 3), 0, 'l3-cache');
  t.equal(value('pc-i440fx-2.6', 'Nehalem', 0xb, 'ecx', 0), 0);
  t.not(value('pc-i440fx-2.7', 'Nehalem', 0xb, 'ecx', 0), 0, 'cpuid-0xb');
  t.match(resolve({ machine: 'pc-i440fx-3.1', cpu: 'Cascadelake-Server' }).signature, { stepping: 5 });
  t.match(resolve({ machine: 'pc-i440fx-4.0', cpu: 'Cascadelake-Server' }).signature, { stepping: 6 });
  t.equal(value('pc-i440fx-6.1', 'Nehalem,hv-relaxed', 0x40000002, 'eax'), 0x1bbc);
  t.equal(value('pc-i440fx-6.2', 'Nehalem,hv-relaxed', 0x40000002, 'eax'), 0x3839);
});
