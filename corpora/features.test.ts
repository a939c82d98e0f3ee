import t from 'tap';
import { featureDictionary, featureName } from './features.js';

void t.test('a feature has one name and any spelling of it', async (t) => {
  const dictionary = featureDictionary();
  for (const spelling of ['sse4.1', 'sse4_1', 'sse4-1']) t.equal(dictionary.canonical(spelling), 'sse4.1');
  t.equal(dictionary.canonical('sse3'), 'pni');
  t.equal(dictionary.canonical('kvm_pv_eoi'), 'kvm-pv-eoi');
  t.equal(dictionary.canonical('no-such-feature'), undefined);
});

void t.test('bits have names for messages, also those that QEMU does not name', async (t) => {
  t.equal(featureName({ leaf: 7, subleaf: 0, register: 'ebx' }, 9), 'erms');
  t.equal(featureName({ leaf: 0x80000008, subleaf: null, register: 'ebx' }, 12), 'ibpb');
  t.equal(featureName({ leaf: 1, subleaf: null, register: 'ecx' }, 27), 'osxsave');
  t.equal(featureName({ leaf: 0x80000001, subleaf: null, register: 'edx' }, 0), 'fpu', 'AMD repeats 1.EDX');
  t.equal(featureName({ leaf: 2, subleaf: null, register: 'eax' }, 0), undefined);
});

void t.test('no bit stands at two places under one name, but for those that QEMU switches together', async (t) => {
  const dictionary = featureDictionary();
  const twice = [...dictionary.names()].filter((name) => dictionary.bitsOf(name).length > 1);
  t.same(twice.sort(), ['kvmclock', 'vmx-invept-single-context']);
});

void t.test('every dependency is between known features', async (t) => {
  const dictionary = featureDictionary();
  for (const { needs, features } of dictionary.dependencies) {
    for (const name of [...needs, ...features]) t.ok(dictionary.bitsOf(name).length, name);
  }
});
