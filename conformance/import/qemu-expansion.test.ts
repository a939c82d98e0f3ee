/** Tests of the expansion of a QEMU: against real releases in the cache and, where it is at hand, what others measured on them. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { packageFile } from '../../corpora/package-root.js';
import { cachedQemu, QEMU_RELEASES } from '../packages/qemu-trees.js';
import { expandQemu, propertiesOf, type QemuExpansion, sortMachines } from './qemu-expansion.js';

t.same(
  sortMachines([
    'pc-q35-4.0.1',
    'pc-i440fx-2.10',
    'pc-q35-4.0',
    'pc-1.3',
    'pc-i440fx-2.9',
    'pc-q35-10.0',
    'pc-i440fx-1.4',
  ]),
  ['pc-1.3', 'pc-i440fx-1.4', 'pc-i440fx-2.9', 'pc-i440fx-2.10', 'pc-q35-4.0', 'pc-q35-4.0.1', 'pc-q35-10.0'],
  'by version, not by text',
);

const groundTruth = (release: string): QemuExpansion | null => {
  try {
    return JSON.parse(
      gunzipSync(readFileSync(packageFile(`../shared/ground-truth/qemu-properties/${release}.json.gz`))).toString(),
    );
  } catch {
    return null;
  }
};

for (const release of QEMU_RELEASES) {
  void t.test(`QEMU ${release}: i440fx and q35 of one version declare the same`, async (t) => {
    const launcher = await cachedQemu(release);
    if (!launcher) return t.plan(0, `QEMU ${release} is not in the cache`);
    const machines = [`pc-i440fx-${release}`, `pc-q35-${release}`];
    const expansion = await expandQemu(launcher, { accelerators: ['tcg'], machines });
    const [i440fx, q35] = machines.map((machine) => expansion.pairs.tcg?.[machine]);
    t.ok(expansion.models.length > 100);
    t.same(Object.keys(i440fx!).sort(), expansion.models);
    t.same(i440fx, q35);
    t.same(expansion.errors, []);
    const { level, vendor, ssse3 } = propertiesOf(expansion, 'tcg', machines[0]!, 'Conroe');
    t.same({ level, vendor, ssse3 }, { level: 10, vendor: 'GenuineIntel', ssse3: true });
  });

  void t.test(`QEMU ${release}: declares what was measured on it before`, async (t) => {
    const [launcher, truth] = [await cachedQemu(release), groundTruth(release)];
    if (!launcher || !truth)
      return t.plan(0, launcher ? 'no measured tables at hand' : `QEMU ${release} is not in the cache`);
    const machine = truth.machines.at(-1)!;
    const expansion = await expandQemu(launcher, { accelerators: ['tcg'], machines: [machine] });
    const maps = (of: QemuExpansion) => of.models.map((model) => [model, propertiesOf(of, 'tcg', machine, model)]);
    t.same(maps(expansion), maps(truth));
    t.same(expansion.aliases, truth.aliases);
    t.same(expansion.machines, truth.machines);
  });
}
