import t from 'tap';
import { builtInDefinitions } from '../../corpora/definitions.js';
import { resolveCpu } from '../../reference-vmm/cpu-model/resolve.js';
import { HOST_MODELS } from './derive-models.js';
import { PROPERTY_RELEASES, releaseOf, withoutGroundTruth } from './ground-truth.js';

/** The host that the maps were taken on: QEMU under KVM shows its vendor for every model, for `base` of late. */
const HOST_VENDOR = 'AuthenticAMD';
const withoutVendor = builtInDefinitions().deviations.find(({ id }) => id === 'base-without-vendor')!.releases;
const pairOf = (model: string, release: string): string =>
  model === 'base' && withoutVendor.includes(release) ? model : `${model},vendor=${HOST_VENDOR}`;

for (const name of PROPERTY_RELEASES) {
  void t.test(`every property of every pair is what QEMU ${name} declares`, { skip: withoutGroundTruth }, async (t) => {
    const release = releaseOf(name);
    const wrong: string[] = [];
    let pairs = 0;
    for (const [machine, models] of Object.entries(release.dump.pairs.kvm)) {
      for (const model of Object.keys(models)) {
        if (HOST_MODELS.has(model)) continue;
        pairs += 1;
        const { properties } = resolveCpu({ machine, cpu: pairOf(model, name), release: name }).cpu;
        for (const [property, value] of Object.entries(release.properties('kvm', machine, model)!)) {
          const resolved = properties.get(property) ?? false;
          if (resolved !== value) wrong.push(`${machine}/${model} ${property}: QEMU ${value}, resolved ${resolved}`);
        }
      }
    }
    t.same(wrong.slice(0, 20), []);
    t.ok(pairs > 5000, `${pairs} pairs`);
  });
}
