/** The benchmark measures what it says: both guests see the same CPU, and a machine that cannot measure says why. */
import t from 'tap';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { runCommand } from '../packages/command.js';
import { cachedQemu } from '../packages/qemu-trees.js';
import { Floor } from './floor.js';
import { MEASUREMENTS } from './measurements.js';
import { migrationBench } from './migration.js';
import { PAIR, pairToObservation } from './pair-to-observation.js';
import { held, isMissed, type Row } from './row.js';
import { snapshotBench } from './snapshots.js';
import { quartiles } from './spread.js';
import { markdownDocument, textTable } from './table.js';

const compiler = await runCommand('cc', ['--version'], { deadline: 10_000 }).then(
  ({ status }) => status === 0,
  () => false,
);
const skip = needsKvm.skip || (!compiler && 'no C compiler (cc)');

void t.test('rounds of ours and of C boot guests that see the same', { skip }, async (t) => {
  const { rounds, msrs, observed, closed } = await pairToObservation(3, 2);
  t.equal(rounds, 3);
  t.ok(msrs > 100);
  for (const side of ['ours', 'floor'] as const) {
    // Microseconds: 0.1 ms would be less than the exits of one boot cost.
    t.ok(observed[side].median > 100, `${observed[side].median}`);
    t.ok(closed[side].median > observed[side].median);
  }
  t.equal(observed.ratio, observed.ours.median / observed.floor.median);
});

void t.test('a guest of C that sees other MSRs is told apart', { skip }, async (t) => {
  const identity = resolve(PAIR);
  using floor = await Floor.start(identity, [0x10, 0x1b]);
  await floor.round();
  const { msrs } = await floor.finish();
  t.same(
    msrs.map(({ index }) => index),
    [0x10, 0x1b],
  );
});

void t.test('without a compiler it says so', async (t) => {
  const { PATH } = process.env;
  process.env.PATH = '/nowhere';
  t.teardown(() => {
    process.env.PATH = PATH;
  });
  await t.rejects(Floor.start(resolve(PAIR), []), { code: 'program-missing', exitCode: 3, message: /cannot run cc/ });
});

const noQemu = (await cachedQemu('11.1')) ? false : 'QEMU 11.1 is not in the cache';
void t.test(
  'migrations of ours and of QEMU are timed by the beats of their guests',
  { skip: needsKvm.skip || noQemu },
  async (t) => {
    const [row] = await migrationBench(1, [16]);
    t.match(row, { memory: 16, rounds: 1 });
    for (const { total, down } of [row!])
      for (const side of ['ours', 'qemu'] as const) t.ok(down[side].median > 0 && total[side].median > 0, side);
  },
);

void t.test('saves and restores of ours and of QEMU are timed', { skip: needsKvm.skip || noQemu }, async (t) => {
  const [row] = await snapshotBench(1, [16]);
  t.match(row, { memory: 16, rounds: 1, writing: { live: { median: Number } } });
  for (const side of ['ours', 'qemu'] as const) t.ok(row!.live[side].median >= row!.pause[side].median, side);
});

void t.test('quartiles are of the sorted values', async (t) => {
  t.same(quartiles([9, 1, 5, 3, 7]), { least: 1, lower: 3, median: 5, upper: 7 });
  t.same(quartiles([4]), { least: 4, lower: 4, median: 4, upper: 4 });
});

const ROW: Row = { id: 'x', what: 'a | b', unit: 'ms', value: 20 };

void t.test('a goal is of the ratio where there is one, and can be missed in both directions', async (t) => {
  const half = held({ ...ROW, goal: { kind: 'at-least', value: 3 } }, 'floor', 10);
  t.equal(half.against!.ratio, 2);
  t.ok(isMissed(half));
  t.notOk(isMissed({ ...half, goal: { kind: 'at-most', value: 3 } }));
  t.ok(isMissed({ ...ROW, goal: { kind: 'at-most', value: 19 } }));
  t.notOk(isMissed(ROW));
});

void t.test('the table tells what was missed, what this machine cannot, and that others were at work', async (t) => {
  const machine = { kernel: '6.12', module: 'kvm_amd', cpu: 'EPYC', cores: 2, node: 'v20', load: 9 };
  const rows = [held({ ...ROW, goal: { kind: 'at-least', value: 3 } }, 'floor', 10)];
  const results = {
    schema: 'guest-abi/bench/2',
    at: '2026-01-01T00:00:00Z',
    machine,
    rows,
    cannot: [['lab', 'no lab']],
  } as const;
  const text = textTable(results);
  t.match(text, /load 9\.0: OTHERS WERE AT WORK/);
  t.match(text, /^MISSED {2}a \| b +20\.0 ms +floor: 10\.0 ms +2\.00 +>= 3$/m);
  t.match(text, /^cannot {2}lab: no lab$/m);
  t.match(markdownDocument(results), /^\| MISSED \| a \\\| b \|/m);
});

void t.test('measurements have names of their own', async (t) => {
  t.equal(new Set(MEASUREMENTS.map(({ name }) => name)).size, MEASUREMENTS.length);
});
