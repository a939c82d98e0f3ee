import { readFileSync } from 'node:fs';
import t from 'tap';
import { builtInDefinitions, Definitions } from '../../corpora/definitions.js';
import { packageFile } from '../../corpora/package-root.js';
import { releaseOf, withoutGroundTruth } from './ground-truth.js';
import { importRelease } from './import-release.js';
import { knownRelease, knownReleases } from './known-release.js';
import { Release, type ReleaseDump } from './release.js';
import { notHeld } from './said-compat.js';

const definitions = builtInDefinitions();

void t.test('definitions hold all that their releases said', { skip: withoutGroundTruth }, async (t) => {
  for (const name of knownReleases(definitions).slice(0, 2)) {
    const [known, real] = [knownRelease(definitions, name), releaseOf(name)];
    const machine = real.newest;
    for (const model of Object.keys(real.dump.pairs.tcg[machine]!)) {
      if (model === 'host' || model === 'max') continue;
      t.same(known.properties('tcg', machine, model), real.properties('tcg', machine, model), `${machine}/${model}`);
    }
  }
});

void t.test(
  'importing one release again gives the committed definitions back',
  { skip: withoutGroundTruth },
  async (t) => {
    const { files, unexplained, needless, withoutCaches } = importRelease(definitions, releaseOf('11.1'));
    for (const [path, text] of files) {
      const committed = readFileSync(packageFile(`corpora/${path}`), 'utf8');
      if (text !== committed) t.equal(text, committed, path);
    }
    t.ok(files.size > 130);
    t.same({ unexplained, needless, withoutCaches }, { unexplained: [], needless: [], withoutCaches: [] });
  },
);

/** Two machine types and two models of one release: enough to see what an import changes. */
function fewDefinitions(): Definitions {
  const few = new Definitions();
  const { schema } = definitions.machineIndex;
  const models = { base: 'generic/base.json', Nehalem: 'intel/Nehalem.json', Westmere: 'intel/Westmere.json' };
  few.put('machine-types/index.json', {
    schema,
    machines: ['pc-i440fx-11.0', 'pc-i440fx-11.1', 'pc-next'],
    aliases: { pc: 'pc-i440fx-11.1' },
    newest: { '11.1': 'pc-i440fx-11.1' },
  });
  few.put('machine-types/deviations.json', { deviations: [] });
  few.put('cpu-models/index.json', { ...definitions.modelIndex, models, aliases: {} });
  return few;
}

void t.test('a new release with a new machine type and a changed model', async (t) => {
  const few = fewDefinitions();
  const { dump } = knownRelease(few, '11.1');
  const newest = 'pc-i440fx-11.1';
  const next = 'pc-i440fx-12.0';
  const maps: Record<string, ReleaseDump['maps'][string]> = { ...dump.maps };
  const pairsOf = (accelerator: 'kvm' | 'tcg') => {
    const all = dump.pairs[accelerator];
    const changed = `changed-${accelerator}`;
    maps[changed] = Object.assign({}, maps[all[newest]!.Nehalem!], { aes: true });
    return { ...all, [next]: { ...all[newest]!, Nehalem: changed, 'Nehalem-v1': changed } };
  };
  const pairs = { kvm: pairsOf('kvm'), tcg: pairsOf('tcg') };
  const notes = { 'Nehalem-v1': 'with AES' };
  const release = new Release('12.0', { ...dump, machines: [...dump.machines, next], maps, pairs, notes });
  const { files, unknownProperties } = importRelease(few, release);
  t.same(unknownProperties, []);
  const read = (path: string) => JSON.parse(files.get(path)!) as Record<string, unknown>;
  t.match(read(`machine-types/${newest}.json`), {
    newer: next,
    compat: [{ property: 'aes', value: false }],
    releases: ['11.1', '12.0'],
  });
  t.match(read(`machine-types/${next}.json`), { releases: ['12.0'] });
  t.match(read('cpu-models/intel/Nehalem.json'), { properties: { aes: true }, versions: [{ note: 'with AES' }] });
});

void t.test('a property that nobody here knows is told: no QMP command says where its bit stands', async (t) => {
  const few = fewDefinitions();
  const release = new Release('11.1', { ...knownRelease(few, '11.1').dump, default: { 'new-bit': false } });
  t.same(importRelease(few, release).unknownProperties, ['new-bit']);
});

void t.test('what a release says of its compat properties is held against its pairs', async (t) => {
  const entry = (type: string, property: string, value: string) => ({ 'qom-type': type, property, value });
  const held = [
    entry('x86_64-cpu', 'x-vendor-cpuid-only-v2', 'true'),
    entry('x86_64-cpu', 'x-vendor-cpuid-only-v2', 'false'),
    entry('x86_64-cpu', 'guest-phys-bits', '0'),
    entry('qemu64-x86_64-cpu', 'family', '0x6'),
    entry('qemu64-x86_64-cpu', 'x-vendor-cpuid-only', 'off'),
    entry('Icelake-Client-x86_64-cpu', 'mpx', 'on'),
  ];
  const told = (...said: readonly ReturnType<typeof entry>[]) => {
    const dump = { compat: { 'pc-i440fx-6.0': said }, models: ['Nehalem', 'qemu64', 'host'] };
    return notHeld(new Release('11.1', { default: {}, ...dump } as unknown as ReleaseDump), definitions);
  };
  t.strictSame(told(...held), []);
  const on = { machines: ['pc-i440fx-6.0'] };
  t.strictSame(told(entry('Nehalem-x86_64-cpu', 'vme', 'off'), entry('host-x86_64-cpu', 'host-cache-info', 'on')), [
    { type: 'host-x86_64-cpu', property: 'host-cache-info', value: 'on', held: null, ...on },
    { type: 'Nehalem-x86_64-cpu', property: 'vme', value: 'off', held: true, ...on },
  ]);
  t.match(told(entry('qemu64-x86_64-cpu', 'x-new', 'on')), [{ property: 'x-new', held: null }]);
  t.match(told(entry('qemu64-x86_64-cpu', 'model', '7')), [{ held: 6 }]);
});
