/** Which refusals are the predicted ones: by the field or MSR that is wanting, whatever each side calls it. */
import t from 'tap';
import { type CellResult, isUnexpected, type Reason, type ReasonFacts, reason } from '../../corpora/verdict.js';
import { conclude, totalsOf } from '../../reports/result-log.js';
import { refusedOtherwise } from './refusals.js';

const say = (facts: Partial<ReasonFacts>): Reason => reason({ code: 'any', step: 'boot', message: 'why', ...facts });
const AES = say({ code: 'cpuid-not-offered', leaf: '0x00000001', register: 'ecx', bit: 25 });
const otherwise = (found: readonly Reason[], predicted: readonly Reason[]): Reason[] =>
  refusedOtherwise({ verdict: 'refused', reasons: found }, { verdict: 'refused', reasons: predicted });

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
    t.same(refusedOtherwise({ verdict: 'changed', reasons: [] }, { verdict: 'refused', reasons: [AES] }), []);
  },
);
