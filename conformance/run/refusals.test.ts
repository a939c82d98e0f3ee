/** Which refusals are the predicted ones: by the host that refuses, and the field or MSR that is wanting, whatever each side calls it. */
import t from 'tap';
import {
  type CellResult,
  isUnexpected,
  REFUSED_OTHERWISE,
  type Reason,
  type ReasonFacts,
  reason,
  type Scenario,
} from '../../corpora/verdict.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { conclude, totalsOf } from '../../reports/result-log.js';
import type { Host } from '../hosts/host.js';
import { RecordedHost } from '../hosts/recorded/recorded-host.js';
import { refusedOtherwise } from './refusals.js';
import { runCell } from './runner.js';

const say = (facts: Partial<ReasonFacts>): Reason => reason({ code: 'any', step: 'boot', message: 'why', ...facts });
const AES = say({ code: 'cpuid-not-offered', leaf: '0x00000001', register: 'ecx', bit: 25 });
const otherwise = (found: readonly Reason[], predicted: readonly Reason[]): Reason[] =>
  refusedOtherwise(
    { verdict: 'refused', reasons: found },
    { verdict: 'refused', reasons: predicted, refusals: [predicted] },
  );

void t.test('the same field or MSR, by whatever code, and more beside it', async (t) => {
  t.same(otherwise([say({ msr: '0x00000122' }), { ...AES, code: 'cpuid-altered', step: 'destination' }], [AES]), []);
  t.same(otherwise([say({ code: 'msr-unknown', msr: '0x1' })], [say({ code: 'msr-not-listed', msr: '0x1' })]), []);
  t.same(otherwise([say({ code: 'too-many-vcpus' })], [say({ code: 'too-many-vcpus' })]), []);
  t.same(otherwise([say({ code: 'qemu-enforce' })], [AES]), []);
  t.same(otherwise([say({ code: 'qemu-cpu-model' })], [say({ code: 'qemu-machine-type' })]), []);
});

void t.test(
  'a damaged state, another bit or another end of QEMU where a feature was to be missing: a break',
  async (t) => {
    for (const found of [
      say({ code: 'bad-container' }),
      { ...AES, bit: 24 },
      say({ code: 'qemu-migration' }),
      say({ msr: '0x1' }),
    ]) {
      const [told] = otherwise([found], [AES]);
      t.match(told, {
        code: 'refused-otherwise',
        requirement: 'ABI-HOST-005',
        message: /another reason than was predicted: why/,
      });
      const cell: CellResult = {
        ...{ pair: 'pc-1.0/Nehalem', smp: '1', subject: 'reference-vmm', hosts: ['local'], scenario: 'boot' },
        ...{ verdict: 'refused', predicted: 'refused', forced: [], evidence: '', reasons: [told!, found], ms: 1 },
      };
      t.ok(isUnexpected(cell));
      t.match(totalsOf([cell]), { refusedAsPredicted: 0, unexpected: 1 });
      t.equal(conclude({ cells: [cell], complete: true }), 'broken');
    }
    t.same(
      refusedOtherwise({ verdict: 'changed', reasons: [] }, { verdict: 'refused', reasons: [AES], refusals: [[AES]] }),
      [],
    );
  },
);

void t.test('each step is held to the host that it is on', async (t) => {
  const refusals = [[], [AES], []];
  const at = (step: string) =>
    refusedOtherwise(
      { verdict: 'refused', reasons: [{ ...AES, step }] },
      { verdict: 'refused', reasons: [AES], refusals },
    );
  for (const step of ['hop-1', 'hop-1-source', 'hop-2-cut']) t.same(at(step), [], step);
  for (const step of [
    'boot',
    'disk-save',
    'hop-1-cancelled',
    'hop-2',
    'hop-2-source',
    'file-restore',
    'restore-again',
    'hop-9',
  ])
    t.match(at(step), [{ code: REFUSED_OTHERWISE, step }], step);
});

void t.test('a source that refuses for what only the destination was to lack was not predicted to', async (t) => {
  const [rich, plain] = await Promise.all([RecordedHost.open('rich/6.12'), RecordedHost.open('EPYC/6.12.107')]);
  // It says that it is the one, and gives guests what the other has.
  const mistaken: Host = {
    ...{ summary: rich.summary, capabilities: rich.capabilities, concurrent: true },
    ...{ open: () => plain.open(), warm: () => plain.open(), [Symbol.asyncDispose]: async () => {} },
  };
  const identity = resolve({ machine: 'pc-i440fx-2.4', cpu: 'Nehalem' });
  const run = async (source: Host, scenario: Scenario) =>
    (
      await runCell(
        { identity, smp: '1', hosts: [source, plain], scenario },
        { allowAltered: false, forceFeatures: false, jobs: 1 },
      )
    ).result;
  for (const scenario of ['migrate', 'snapshot-restore', 'live-snapshot'] as const) {
    const right = await run(rich, scenario);
    t.match(right, { verdict: 'refused', predicted: 'refused', reasons: [{ feature: 'vme' }] });
    t.notOk(isUnexpected(right), scenario);
    const wrong = await run(mistaken, scenario);
    t.match(wrong, {
      ...{ verdict: 'refused', predicted: 'refused' },
      reasons: [{ code: REFUSED_OTHERWISE, step: 'boot', message: /was to take the guest.*vme/ }, { feature: 'vme' }],
    });
    t.ok(isUnexpected(wrong), scenario);
  }
});
