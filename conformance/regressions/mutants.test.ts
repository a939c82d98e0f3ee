/** Mutants: each kind is played and caught, twins hold, a mutant that breaks nothing survives, and what is named is the case's own place. */
import t from 'tap';
import { type Mutant, type Regression, regressions } from '../../corpora/regressions.js';
import { reason } from '../../corpora/verdict.js';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { regressionFaults } from '../checks/regressions.js';
import { editedDefinitions } from './edits.js';
import { type MutantEnd, misnamed, playMutants } from './mutants.js';
import { isNamed } from './named.js';

async function ends(cases: readonly Regression[]): Promise<MutantEnd[]> {
  const all: MutantEnd[] = [];
  for await (const end of playMutants(cases)) all.push(end);
  return all;
}

/** The first case with a mutant of this kind, with it alone. */
function firstOf(kind: Mutant['kind'], local: boolean): Regression {
  const fits = (mutant: Mutant): boolean => mutant.kind === kind && (mutant.host === 'local') === local;
  const one = regressions().find(({ mutants }) => mutants.some(fits))!;
  return { ...one, mutants: one.mutants.filter(fits).slice(0, 1) };
}

void t.test('at least 70 of the 84 cases can be expressed; the others say why not', async (t) => {
  t.equal(regressions().length, 84);
  t.ok(regressions().filter(({ mutants }) => mutants.length > 0).length >= 70);
  t.same(
    regressions().filter(({ mutants, inexpressible = '' }) => mutants.length === 0 && inexpressible.length < 40),
    [],
  );
});

for (const kind of ['definition', 'resolver', 'kernel', 'stream'] as const)
  void t.test(`a mutant of kind ${kind} on a recorded host is caught beside a twin that is identical`, async (t) => {
    for (const end of await ends([firstOf(kind, false)])) {
      t.equal(end.end, 'caught', end.finding);
      t.equal(end.twin, 'identical');
    }
  });

for (const kind of ['kernel', 'monitor', 'stream'] as const)
  void t.test(
    `a mutant of kind ${kind} on this machine's KVM is caught beside a twin that holds`,
    needsKvm,
    async (t) => {
      for (const end of await ends([firstOf(kind, true)])) {
        t.equal(end.end, 'caught', end.finding);
        t.match(end.twin, /identical|altered/);
      }
    },
  );

void t.test('live lives and second vCPUs: a mutant of each is caught beside a twin that holds', needsKvm, async (t) => {
  const of = (fits: (mutant: Mutant) => boolean): Regression[] =>
    regressions()
      .map((one) => ({ ...one, mutants: one.mutants.filter(fits).slice(-1) }))
      .filter(({ mutants }) => mutants.length > 0);
  const onOthers = of(({ host, smp, life }) => host === 'local' && smp !== undefined && life === undefined);
  const lost = of(({ life, smp }) => smp === undefined && (life === 'written-live-save' || life === 'written-migrate'));
  const mixedUp = of((mutant) => mutant.kind === 'monitor' && mutant.fault === 'mixes-up-vcpus');
  t.same([onOthers.length, lost.length, mixedUp.length], [2, 2, 1]);
  for (const end of await ends([...onOthers, ...lost, ...mixedUp])) {
    t.equal(end.end, 'caught', end.finding);
    t.match(end.twin, /identical|altered/);
  }
  t.match(await ends(lost), [{ verdict: 'dropped' }, { verdict: 'dropped' }], 'it arrives, and not as it left');
});

void t.test('of a mutant on one vCPU, that one must be named, and no other', async (t) => {
  const one = regressions().find(({ id }) => id.startsWith('057-'))!;
  const mutant = one.mutants.find(({ host, vcpus }) => host === undefined && vcpus)!;
  const played = (more: Pick<Mutant, 'oracle'> = {}) => ends([{ ...one, mutants: [{ ...mutant, ...more }] }]);
  t.match(await played(), [{ end: 'caught', finding: /MSR 0x00000176/ }]);
  t.match(await played({ oracle: ['MSR 0x00000175'] }), [
    { end: 'SURVIVED', finding: /not named: MSR 0x00000175 on vCPU 1$/ },
  ]);
  const found = [reason({ code: 'msr-changed', step: 'restore', vcpu: 0, msr: '0x00000176', message: '' })];
  t.same(misnamed(['MSR 0x00000176'], { ...mutant, vcpus: [1] }, { reasons: found }), [
    'not named: MSR 0x00000176 on vCPU 1',
    'named though it is right: vCPU 0',
  ]);
});

const harmless: Regression = {
  ...firstOf('kernel', false),
  oracle: ['CPUID 1.ECX[24]'],
  mutants: [{ kind: 'kernel', pairs: ['pc-i440fx-7.2/EPYC'], faults: { offers: { '19.EBX': '0x00000001' } } }],
};

void t.test('a mutant that breaks nothing survives, and so does one whose place is not named', async (t) => {
  t.match(await ends([harmless]), [{ end: 'SURVIVED', verdict: 'identical' }]);
  const elsewhere = { ...firstOf('definition', false), oracle: ['MSR 0x0000010a'] };
  t.match(await ends([elsewhere]), [{ end: 'SURVIVED', finding: /not named: MSR 0x0000010a/ }]);
});

void t.test('an edit that changes nothing is no mutant', async (t) => {
  t.throws(() => editedDefinitions([{ model: 'Nehalem', properties: { vme: true } }]), /changes nothing/);
  t.throws(() => editedDefinitions([{ machine: 'pc-1.0', without: ['Nehalem.vme'] }]), /has no compat property/);
});

void t.test(
  'places: a field, a bit by itself or within its register, an MSR, a register, a part of the state',
  async (t) => {
    const bit = reason({
      ...{ code: 'cpuid-changed', step: 'boot', leaf: '0x00000007', subleaf: '0x00000000', register: 'ebx', bit: 4 },
      message: '',
    });
    const whole = { ...bit, bit: null, contract: '0x00000810', guest: '0x00000000' };
    for (const place of ['CPUID 7', 'CPUID 7.0', 'CPUID 7.0.EBX', 'CPUID 7.0.EBX[4]'])
      t.ok(isNamed(place, [bit]), place);
    for (const place of ['CPUID 8', 'CPUID 7.1', 'CPUID 7.0.ECX', 'CPUID 7.0.EBX[5]'])
      t.notOk(isNamed(place, [bit]), place);
    t.ok(isNamed('CPUID 7.0.EBX[11]', [whole]));
    t.notOk(isNamed('CPUID 7.0.EBX[5]', [whole]));
    const said = (code: string, message: string) => [reason({ code, step: 'restore', msr: '0x00000010', message })];
    t.ok(isNamed('MSR 0x00000010', said('msr-changed', '')));
    t.ok(isNamed('register CR4', said('register-changed', 'CR4: was 0, is 1')));
    t.ok(isNamed('state xsave', said('state-not-settable', "state 'xsave': KVM_SET_XSAVE: EINVAL")));
    t.ok(isNamed('ioctl KVM_SET_CPUID2', said('crashed', 'KVM_SET_CPUID2: EINVAL')));
    t.ok(isNamed('code tsc-frequency', said('tsc-frequency', '')));
    t.notOk(isNamed('code tsc-frequency', said('crashed', '')));
  },
);

void t.test(
  'the check of the corpus finds gaps, rules and faults that nothing plays, pairs that are none',
  async (t) => {
    const all = regressions();
    t.same(regressionFaults(all), []);
    t.match(regressionFaults(all.slice(1)), [/numbered from 1/]);
    const [first] = all as [Regression];
    const with1 = (mutant: Mutant): Regression[] => [
      { ...first, mutants: [...first.mutants, mutant] },
      ...all.slice(1),
    ];
    t.match(regressionFaults(with1({ kind: 'resolver', pairs: ['a/b'], rule: 'x' })), [/no rule 'x'/]);
    t.match(
      regressionFaults(with1({ kind: 'definition', pairs: ['nothing'], edits: [{ model: 'a', properties: {} }] })),
      [/001-/],
    );
  },
);
