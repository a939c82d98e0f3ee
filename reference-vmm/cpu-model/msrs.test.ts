import t from 'tap';
import { hex32 } from '../../corpora/hex.js';

import { msrNameAt } from '../../corpora/msrs.js';
import { differentIdentities, kernelCaptures, needsGroundTruth, qemuIdentities, qemuMsrs } from '../ground-truth.js';

import { inSetOrder, msrsOf, travellingMsrs } from './msrs.js';

void t.test('the dictionary names every MSR that a kernel lists or that a QEMU writes', needsGroundTruth, async (t) => {
  const captures = kernelCaptures();
  t.ok(captures.length > 15);
  for (const { name, msrIndexList, msrFeatureIndexList } of captures)
    t.same(
      [...msrIndexList, ...msrFeatureIndexList].filter((index) => msrNameAt(Number(index)) === null),
      [],
      name,
    );
  for (const release of ['5.2', '10.0'] as const) {
    const written = Object.values(qemuMsrs(release)).flatMap((models) => Object.values(models).flatMap(Object.keys));
    t.ok(written.length > 10_000);
    t.same(
      written.filter((index) => msrNameAt(Number.parseInt(index, 16)) === null),
      [],
    );
  }
});

void t.test('no pair of any machine type has one MSR twice', needsGroundTruth, async (t) => {
  const twice = differentIdentities().filter((identity) => {
    const indices = msrsOf(identity).map(({ index }) => index);
    return new Set(indices).size !== indices.length;
  });
  t.same(
    twice.map(({ pair }) => pair),
    [],
  );
});

/** MSRs in which Debian's kernels differ on one CPU, so that a guest that carries all that is listed cannot move between them. */
const DIFFERING = [
  ...[0xc0000104, 0x40000118, 0x4b564d06, 0x3f1, 0x3f2, 0x600, 0x1d9],
  ...[0x309, 0x30a, 0x30b, 0x38d, 0x38e, 0x38f, 0x390, 0x1db, 0x1dc, 0x1dd, 0x1de],
  ...Array.from({ length: 12 }, (_, i) => 0xc0010200 + i),
];

void t.test(
  'no MSR in which kernels differ travels with a pair of a released machine type',
  needsGroundTruth,
  async (t) => {
    const lists = kernelCaptures().map(({ msrIndexList }) => msrIndexList.map(Number));
    const listed = [...new Set(lists.flat())];
    t.same(
      DIFFERING.filter((index) => !listed.includes(index)),
      [],
      'each is listed somewhere',
    );
    const blocking = differentIdentities().flatMap((identity) =>
      travellingMsrs(identity, listed)
        .filter((index) => DIFFERING.includes(index))
        .map((index) => `${identity.pair} ${hex32(index)}`),
    );
    t.same(blocking, []);
  },
);

void t.test('with an open pair everything travels that the kernel lists', needsGroundTruth, async (t) => {
  const [identity] = qemuIdentities('10.0');
  const listed = DIFFERING;
  for (const open of [
    { cpuModel: 'host' },
    { cpuModel: 'max' },
    { machine: 'pc-next' },
    { machine: 'pc-i440fx-next' },
  ]) {
    const travelling = travellingMsrs({ ...identity!, ...open }, listed);
    t.same(
      listed.filter((index) => !travelling.includes(index)),
      [],
    );
  }
});

void t.test(
  'a destination sets the TSC before its deadline, and the interrupt of async page faults before they are on',
  async (t) => {
    const values = [0x6e0, 0x4b564d02, 0x4b564d06, 0x10, 0x175].map((index) => ({ index, value: 0n }));
    const order = inSetOrder(values).map(({ index }) => index);
    t.ok(order.indexOf(0x10) < order.indexOf(0x6e0));
    t.ok(order.indexOf(0x4b564d06) < order.indexOf(0x4b564d02));
  },
);
