import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { builtInDefinitions } from '../../corpora/definitions.js';
import { compareWithLibvirt } from './libvirt-compare.js';
import { readLibvirtMap } from './libvirt-map.js';

/** A map as libvirt ships it, with only what the features of `cpuid` say. */
function mapOf(t: { testdir: () => string }, cpuid: Readonly<Record<string, string>>, models: string): string {
  const folder = t.testdir();
  const features = Object.entries(cpuid).map(([name, place]) => `<feature name='${name}'><cpuid ${place}/></feature>`);
  writeFileSync(
    join(folder, 'index.xml'),
    "<cpus><arch name='x86'><include filename='f.xml'/><group><include filename='m.xml'/></group></arch></cpus>",
  );
  writeFileSync(join(folder, 'f.xml'), `<cpus>${features.join('')}</cpus>`);
  writeFileSync(join(folder, 'm.xml'), `<cpus>${models}</cpus>`);
  return folder;
}

const model = (name: string, features: string): string =>
  `<model name='${name}'>${features
    .split(' ')
    .map((feature) => `<feature name='${feature}'/>`)
    .join('')}</model>`;

void t.test('a model differs by bits, not by spelling; what one side does not know is told apart', async (t) => {
  const cpuid = {
    vme: "eax_in='0x01' edx='0x00000002'",
    lahf_lm: "eax_in='0x80000001' ecx='0x00000001'",
    aes: "eax_in='0x01' ecx='0x02000000'",
    'made-up': "eax_in='0x01' ecx='0x00010000'",
  };
  const models = `${model('Nehalem', 'lahf_lm aes')}${model('NoSuchModel', 'vme')}`;
  const found = compareWithLibvirt(readLibvirtMap(mapOf(t, cpuid, models)), builtInDefinitions());
  t.match(found.disagreeing, [{ model: 'Nehalem', onlyLibvirt: ['aes'], onlyOurs: ['vme'] }]);
  t.same(found.modelsOnlyLibvirt, ['NoSuchModel']);
  t.ok(found.modelsOnlyOurs.includes('EPYC-Genoa'));
  t.same(found.featuresOnlyLibvirt, ['made-up']);
  t.ok(found.featuresOnlyOurs.includes('sse4.1'));
  t.notOk(found.featuresOnlyOurs.includes('vme'));
});

void t.test('the same features agree', async (t) => {
  const cpuid = { vme: "eax_in='0x01' edx='0x00000002'", lahf_lm: "eax_in='0x80000001' ecx='0x00000001'" };
  const found = compareWithLibvirt(
    readLibvirtMap(mapOf(t, cpuid, model('Nehalem', 'lahf_lm vme'))),
    builtInDefinitions(),
  );
  t.same(found.agreeing, ['Nehalem']);
  t.same(found.disagreeing, []);
});

void t.test('a map that is none is refused', async (t) => {
  t.throws(() => readLibvirtMap(join(t.testdir(), 'none')), { code: 'unreadable-file', exitCode: 2 });
});
