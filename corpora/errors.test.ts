import t from 'tap';
import { nearestNames, unknownName } from './errors.js';

void t.test('the nearest names come first, far ones not at all', async (t) => {
  t.strictSame(nearestNames('nehalm', ['Penryn', 'Nehalem', 'Nehalem-IBRS', 'qemu64']), ['Nehalem']);
  t.strictSame(nearestNames('zzz', ['Penryn', 'Nehalem']), []);
});

void t.test('an unknown name says what was given and what is near', async (t) => {
  const error = unknownName('CPU model', 'Nehalm', ['Nehalem']);
  t.equal(error.message, "unknown CPU model 'Nehalm'; nearest: Nehalem");
  t.match(error.toJSON(), { code: 'unknown-cpu-model', given: 'Nehalm', nearest: ['Nehalem'] });
  t.equal(error.exitCode, 2);
});
