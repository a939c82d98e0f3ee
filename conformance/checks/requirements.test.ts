/** The check of the requirements can fail: each thing that may be wrong with them is found. */
import t from 'tap';
import { type Requirement, requirementOf } from '../../corpora/requirements.js';
import { requirementFaults } from './requirements.js';

const sound: Requirement = { id: 'ABI-X-001', sentence: 'A thing holds.', sources: ['SDM'], codes: ['a-b'] };
const used = { reasons: new Set(['a-b']), errors: new Set(['c-d']) };
const faults = (...all: Partial<Requirement>[]) =>
  requirementFaults(
    all.map((one) => ({ ...sound, ...one })),
    used,
  );

void t.test('sound requirements have no fault, and each unsound one has its own', async (t) => {
  t.same(faults({}), []);
  t.same(faults({ codes: ['a-b', 'c-d', 'kvm-*'] }), []);
  t.match(faults({ id: 'ABI-1' }), [/no id/]);
  t.match(faults({ sentence: 'holds' }), [/no sentence/]);
  t.match(faults({ sources: [] }), [/no source/]);
  t.match(faults({}, { codes: ['c-d'] }), [/ABI-X-001 stands twice/]);
  t.match(faults({}, { id: 'ABI-X-002' }), [/'a-b' is of two/]);
  t.match(faults({ codes: ['a-b'] }, { id: 'ABI-X-002', codes: [] }), [/ABI-X-002: nothing uses it/]);
  t.match(faults({ codes: ['c-d'] }), [/'a-b' is of no requirement/]);
  t.match(faults({ codes: ['a-b', 'e-f'] }), [/no reason and no error has the code 'e-f'/]);
});

void t.test('a code leads to its requirement; errors of KVM to one by their beginning', async (t) => {
  t.equal(requirementOf('cpuid-changed'), 'ABI-CPUID-001');
  t.equal(requirementOf('kvm-einval'), requirementOf('state-not-settable'));
  t.equal(requirementOf('agent-gone'), null);
});
