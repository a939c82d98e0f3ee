import t from 'tap';
import { Definitions } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';
import { parseSmp } from '../../corpora/smp.js';
import { listMachines, listModels, resolve } from './resolve.js';

const cpuidOf = (machine: string, cpu: string, smp = '1') =>
  resolve({ machine, cpu, smp: parseSmp(smp) }).vcpus[0]!.cpuid;

void t.test('Nehalem is level 2 up to 1.5, 4 from 1.6, 11 from 2.4', async (t) => {
  const level = (machine: string): number => resolve({ machine, cpu: 'Nehalem' }).level;
  t.equal(level('pc-1.0'), 2);
  t.equal(level('pc-i440fx-1.5'), 2);
  t.equal(level('pc-i440fx-1.6'), 4);
  t.equal(level('pc-i440fx-2.3'), 4);
  t.equal(level('pc-i440fx-2.4'), 11);
});

void t.test('per-model compat properties bind to the unversioned type', async (t) => {
  t.match(resolve({ machine: 'pc-1.3', cpu: 'Nehalem' }), { level: 2, signature: { model: 2 } });
  t.match(resolve({ machine: 'pc-1.3', cpu: 'Nehalem-v1' }), { level: 11, signature: { model: 26 } });
});

void t.test('features change at the boundaries that QEMU documents', async (t) => {
  const has = (machine: string, cpu: string, feature: string): boolean =>
    resolve({ machine, cpu }).features.includes(feature);
  t.notOk(has('pc-i440fx-1.7', 'Nehalem', 'x2apic'));
  t.ok(has('pc-i440fx-2.0', 'Nehalem', 'x2apic'));
  t.notOk(has('pc-i440fx-1.4', 'Westmere', 'pclmulqdq'));
  t.ok(has('pc-i440fx-1.5', 'Westmere', 'pclmulqdq'));
  for (const feature of ['f16c', 'rdrand']) {
    t.notOk(has('pc-i440fx-2.2', 'Haswell', feature));
    t.ok(has('pc-i440fx-2.3', 'Haswell', feature));
  }
  t.notOk(has('pc-i440fx-2.2', 'Nehalem', 'vme'));
  t.ok(has('pc-i440fx-2.3', 'Nehalem', 'vme'));
  t.notOk(has('pc-1.2', 'Nehalem', 'kvm-pv-eoi'));
  t.ok(has('pc-1.3', 'Nehalem', 'kvm-pv-eoi'));
});

void t.test('leaf 0xA is there only with a PMU whose leaf was given', async (t) => {
  t.equal(cpuidOf('pc-i440fx-1.5', 'Nehalem,level=11').get(0xa), undefined);
  const pmu = '0x7300403:0x0:0x0:0x603';
  t.match(cpuidOf('pc-i440fx-1.5', `Nehalem,level=11,pmu-leaf=${pmu}`).get(0xa), { eax: 0x07300403, edx: 0x603 });
  t.equal(cpuidOf('pc-i440fx-1.6', `Nehalem,level=11,pmu-leaf=${pmu}`).get(0xa), undefined);
});

void t.test('-f beats +f beats f=value, in any order, under any spelling', async (t) => {
  const on = (options: string): boolean =>
    resolve({ machine: 'pc-i440fx-2.4', cpu: `486,${options}` }).features.includes('sse4.1');
  t.notOk(on('-sse4.1,+sse4_1,sse4-1=on'));
  t.ok(on('+sse4.1,sse4.1=off'));
  t.ok(on('sse4_1=off,sse4.1=on'));
});

void t.test('the vendor moves what is only that vendor’s', async (t) => {
  const amd = cpuidOf('pc-i440fx-6.1', 'Nehalem,vendor=AuthenticAMD', '8c4t2');
  const intel = cpuidOf('pc-i440fx-6.1', 'Nehalem', '8c4t2');
  t.equal(amd.value(2, null, 'eax'), 0, 'no leaf 2');
  t.equal(amd.value(0x80000001, null, 'ecx') & 2, 2, 'CMP_LEGACY');
  t.equal(intel.value(0x80000001, null, 'ecx') & 2, 0);
  t.equal(amd.value(0x80000001, null, 'edx') & 1, 1, 'alias of fpu');
  t.equal(intel.value(0x80000001, null, 'edx') & 1, 0);
});

void t.test('leaf 0xD follows the features and the layout', async (t) => {
  const pkru = (cpu: string) => cpuidOf('pc-i440fx-9.2', cpu).get(0xd, 9);
  t.match(pkru('Skylake-Server'), { eax: 8, ebx: 0xa80 });
  t.match(pkru('EPYC-Genoa'), { eax: 8, ebx: 0x980 });
  t.match(pkru('EPYC-Genoa,xsave-layout=intel'), { eax: 8, ebx: 0xa80 });
  t.match(pkru('Skylake-Server,xsave-layout=amd'), { eax: 8, ebx: 0x980 });
  t.equal(pkru('Skylake-Server,-pku'), undefined);
  t.equal(cpuidOf('pc-i440fx-9.2', 'EPYC-Genoa').value(0xd, 0, 'ecx'), 0x988);
  t.equal(cpuidOf('pc-i440fx-9.2', 'Skylake-Server').value(0xd, 0, 'ecx'), 0xa88);
  t.match(cpuidOf('pc-i440fx-10.0', 'SapphireRapids').get(0xd, 18), { eax: 0x2000, ebx: 0xb00, ecx: 6 });
  t.notOk(cpuidOf('pc-i440fx-9.2', 'Haswell,-xsave').rows.some(({ leaf }) => leaf === 0xd));
});

void t.test('vCPUs differ in their ids only', async (t) => {
  const { vcpus } = resolve({ machine: 'pc-i440fx-5.2', cpu: 'EPYC', smp: parseSmp('6c3t2') });
  t.same(
    vcpus.map(({ apicId }) => apicId),
    [0, 1, 2, 3, 4, 5],
  );
  const other = resolve({ machine: 'pc-i440fx-5.2', cpu: 'Haswell', smp: parseSmp('12s2c3t2') });
  t.same(
    other.vcpus.map(({ apicId }) => apicId),
    [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13],
    'ids have holes',
  );
  t.equal(other.vcpus[7]!.cpuid.value(1, null, 'ebx') >>> 24, 9);
  t.equal(other.vcpus[7]!.cpuid.value(0xb, 0, 'edx'), 9);
});

void t.test('bad input names what was given and what is near', async (t) => {
  const message = (machine: string, cpu: string): string => {
    try {
      resolve({ machine, cpu });
    } catch (error) {
      return error instanceof InputError ? error.message : `not an InputError: ${String(error)}`;
    }
    return 'accepted';
  };
  t.match(message('pc-i440fx-2.33', 'Nehalem'), /unknown machine type 'pc-i440fx-2.33'; nearest: pc-i440fx-2.3/);
  t.match(message('pc-1.0', 'Nehalm'), /unknown CPU model 'Nehalm'; nearest: Nehalem/);
  t.match(message('pc-1.0', 'DiamondRapids'), /unknown CPU model 'DiamondRapids'/, 'no release had it there');
  t.match(message('pc-1.0', 'Nehalem,+aess'), /unknown CPU property 'aess'; nearest: aes/);
  t.match(message('pc-1.0', 'Nehalem,level=abc'), /level=abc: must be a number/);
  t.match(message('pc-1.0', 'Nehalem,+level'), /level is not a flag/);
  t.match(message('pc-1.0', 'Nehalem,vendor=Intel'), /exactly 12 characters/);
  t.match(message('pc-1.0', 'Nehalem,host-phys-bits=on'), /follows the host/);
  t.match(message('pc', 'Nehalem,+mpx,+apxf'), /mpx and apxf exclude each other/);
  t.match(message('pc', 'Nehalem,legacy-cache=off'), /no caches of its own/);
  t.equal(
    message('pc', 'Nehalem,+npt,+vmx-ept,enforce'),
    'enforce: vmx-ept cannot be on: it needs vmx-secondary-ctls; npt cannot be on: it needs svm',
  );
  t.equal(message('pc', 'Nehalem,+npt'), 'accepted', 'without enforce it is dropped, as QEMU does');
  t.match(message('pc', '486,level=1,+avx2,enforce'), /level=0x1 hides leaf 0x7, where avx2 stands/);
});

void t.test('machine types and models are listed with aliases', async (t) => {
  const machines = listMachines();
  t.match(machines[0], { name: 'pc-1.0', releases: ['5.2'] });
  t.ok(machines.some(({ name, alias }) => alias === 'q35' && name.startsWith('pc-q35-')));
  const at = (machine: string, model: string) => listModels(machine).find(({ name }) => name === model);
  t.match(at('pc-i440fx-4.1', 'Haswell-noTSX'), { version: 'Haswell-v2', aliasOf: 'Haswell-v2' });
  t.match(at('pc-i440fx-4.1', 'Haswell'), { version: 'Haswell-v1', aliasOf: 'Haswell-v1' });
  t.match(at('pc-i440fx-4.0', 'Haswell'), { version: 'Haswell-v1', aliasOf: null });
  t.match(at('microvm', 'Haswell'), { version: 'Haswell-v4' });
  t.equal(at('pc-i440fx-8.0', 'Icelake-Client'), undefined);
  t.match(at('pc-i440fx-5.2', 'Icelake-Client'), { deprecated: true, note: 'deprecated' });
  t.match(at('pc-i440fx-11.1', 'Icelake-Server-noTSX'), { version: 'Icelake-Server-v2', note: 'no TSX' });
  t.match(at('pc-i440fx-11.1', 'Nehalem'), { note: null });
});

void t.test('a machine type that is newer than itself is refused', async (t) => {
  const definitions = new Definitions();
  const machine = definitions.machine('pc-i440fx-11.1');
  definitions.put('machine-types/pc-i440fx-11.1.json', { ...machine, newer: 'pc-i440fx-10.0' });
  t.throws(() => resolve({ machine: 'pc-i440fx-2.3', cpu: 'Nehalem', definitions }), {
    code: 'bad-corpora-file',
    message: /pc-i440fx-10\.0 is newer than itself/,
  });
});
