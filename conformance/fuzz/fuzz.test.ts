/** A short fuzz: changed streams and snapshots end in a refusal by name. */
import t from 'tap';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { fuzz } from './fuzz.js';
import { fileTarget, streamTarget } from './targets.js';

const RUNS = { streams: 250, files: 50 };

void t.test('changed migration streams', needsKvm, async (t) => {
  using kvm = openKvm();
  const target = streamTarget(kvm);
  t.equal(await target.take(target.bytes), 'arrived', 'unharmed it is taken');
  t.equal(await target.take(target.seal(target.sections)), 'arrived');
  const { runs, endings, fault } = await fuzz(target, RUNS.streams, 1);
  t.equal(fault, null);
  t.equal(runs, RUNS.streams);
  t.ok(Object.keys(endings).length > 4, JSON.stringify(endings));
});

void t.test('changed snapshot files', needsKvm, async (t) => {
  using kvm = openKvm();
  using target = fileTarget(kvm);
  t.equal(await target.take(target.bytes), 'restored', 'unharmed it is taken');
  const { runs, endings, fault } = await fuzz(target, RUNS.files, 2);
  t.equal(fault, null);
  t.equal(runs, RUNS.files);
  t.ok('refused: bad-container' in endings, JSON.stringify(endings));
});
