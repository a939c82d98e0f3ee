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

void t.test('libvirt has versions of models since 11.0: they are compared with ours', async (t) => {
  const cpuid = { spec_ctrl: "eax_in='0x07' edx='0x04000000'", vme: "eax_in='0x01' edx='0x00000002'" };
  const { features } = readLibvirtMap(mapOf(t, cpuid, ''));
  t.strictSame(features.get('spec_ctrl'), ['7.0.EDX[26]']);
  const models = `${model('Nehalem-v1', 'vme')}${model('Nehalem-v2', 'vme')}`;
  const found = compareWithLibvirt(readLibvirtMap(mapOf(t, cpuid, models)), builtInDefinitions());
  t.strictSame([found.agreeing, found.modelsOnlyLibvirt], [['Nehalem-v1'], []]);
  t.strictSame(found.disagreeing, [{ model: 'Nehalem-v2', onlyLibvirt: [], onlyOurs: ['spec-ctrl'] }]);
});

// As libvirt 11.3 has them in x86_Haswell-noTSX.xml: vmx-* were added, mpx of Skylake was removed.
void t.test("added='yes' is there, removed='yes' is not, and a version has its ancestor's", async (t) => {
  const cpuid = { vme: "eax_in='0x01' edx='0x00000002'", mpx: "eax_in='0x07' ebx='0x00004000'" };
  const map = readLibvirtMap(
    mapOf(
      t,
      { ...cpuid, aes: "eax_in='0x01' ecx='0x02000000'" },
      "<model name='A'><feature name='vme' added='yes'/><feature name='mpx' removed='yes'/></model><model name='A-v2'><model name='A'/><feature name='aes'/></model>",
    ),
  );
  const { features, alwaysThere, takenBack } = map.models.get('A-v2')!;
  t.strictSame([...features, ...alwaysThere, ...takenBack], ['vme', 'aes', 'vme', 'mpx']);
});

void t.test('a model of an unknown feature or ancestor is refused: it would compare as less than it is', async (t) => {
  const cpuid = { vme: "eax_in='0x01' edx='0x00000002'" };
  const refused = (models: string, message: RegExp): unknown =>
    t.throws(() => readLibvirtMap(mapOf(t, cpuid, models)), { code: 'malformed-input', message });
  refused(model('A', 'vme nonesuch'), /the map has no feature 'nonesuch'/);
  refused("<model name='A'><model name='B'/></model>", /no model 'B' stands before this one/);
  refused("<model name='A'><feature name='vme' added='1'/></model>", /added of <feature>: expected one of yes, no/);
});

void t.test('a map that is none is refused', async (t) => {
  t.throws(() => readLibvirtMap(join(t.testdir(), 'none')), { code: 'unreadable-file', exitCode: 2 });
});
