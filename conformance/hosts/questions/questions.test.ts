/** The questions on every capture at hand: as properties, and what is known of real kernels. */
import fc from 'fast-check';
import t from 'tap';
import { builtInDefinitions } from '../../../corpora/definitions.js';
import { runnableModels } from '../../../reference-vmm/cpu-model/best-model.js';
import { resolveOnHost } from '../../../reference-vmm/cpu-model/on-host.js';
import { listModels, realModels, resolveCpu } from '../../../reference-vmm/cpu-model/resolve.js';
import { allCaptures } from '../recorded/captures-for-tests.js';
import { altersCpuid } from '../summary.js';
import { baseline, runsEverywhere } from './baseline.js';
import { canMove } from './can-move.js';
import { hostDiff } from './diff.js';
import { hostFeatures } from './features.js';
import type { NamedHost } from './named-host.js';
import { runnable } from './runnable.js';

const definitions = builtInDefinitions();
const hosts = await allCaptures();
const named = (id: string): NamedHost => hosts.find((one) => one.id === id)!;
const EPYC_5 = named('EPYC/5.10.0-46');
const EPYC_6 = named('EPYC/6.12.107+deb13');
const EPYC_7 = named('EPYC/7.3.4+deb13');
const MACHINES = ['pc-1.0', 'pc-i440fx-1.6', 'pc-i440fx-2.3', 'pc-q35-4.1', 'pc-i440fx-7.2', 'pc-next'];

/** By its id: counterexamples print. */
const anyHost = fc.constantFrom(...hosts.map(({ id }) => id));
const anyGuest = fc.record({
  machine: fc.constantFrom(...MACHINES),
  cpu: fc.constantFrom('host', 'max', 'best', 'host,-avx', 'qemu64', 'Opteron_G2', 'Nehalem', 'EPYC'),
});

void t.test('can-move is a preorder on the hosts that run the guest', async (t) => {
  let moved = 0;
  const possible = (from: NamedHost, to: NamedHost, guest: { machine: string; cpu: string }): boolean =>
    canMove([from, to], { ...guest, definitions })[0]!.possible;
  fc.assert(
    fc.property(anyHost, anyHost, anyHost, anyGuest, (first, second, third, guest) => {
      const [a, b, c] = [named(first), named(second), named(third)];
      const [alone] = canMove([a], { ...guest, definitions });
      if (alone!.possible !== possible(a, a, guest)) return false;
      if (!possible(a, b, guest)) return true;
      // `best` and `host` of b are other guests; the one that came from a is meant.
      const ways = canMove([a, b, c], { ...guest, definitions });
      if (ways[0]!.possible && !possible(a, c, guest)) return false;
      moved++;
      return !possible(b, c, guest) || guest.cpu.startsWith('best') || ways[0]!.possible;
    }),
    { seed: 21, numRuns: 150 },
  );
  t.ok(moved > 10, `${moved} guests moved`);
});

void t.test(
  'a baseline runs on every host that it was made of, and no feature that all offer is left out',
  async (t) => {
    let extended = 0;
    fc.assert(
      fc.property(
        fc.uniqueArray(anyHost, { minLength: 1, maxLength: 5 }),
        fc.constantFrom(...MACHINES),
        (ids, machine) => {
          const group = ids.map(named);
          const made = baseline(group, machine, definitions);
          if (made.features.length > 0) extended++;
          const more = ['avx2', 'aes', 'umip', 'svm'].filter(
            (name) => !resolveCpu({ machine, cpu: made.cpu, definitions }).cpu.on(name),
          );
          const enforced = (host: NamedHost['host']) =>
            resolveOnHost({ machine, cpu: `${made.cpu},enforce`, definitions, host }).lacks.reasons;
          return (
            group.every(({ host }) => enforced(host).length === 0) &&
            runsEverywhere(group, made, definitions) &&
            more.every((name) => !runsEverywhere(group, { machine, cpu: `${made.cpu},+${name}` }, definitions))
          );
        },
      ),
      { seed: 22, numRuns: 25 },
    );
    t.ok(extended > 10, `${extended} baselines have more than the model`);
  },
);

void t.test('what a feature brings to light in the model counts too', async (t) => {
  const rich = named('rich/6.12.117+deb13');
  for (const machine of ['pc-q35-4.1', 'pc-next']) {
    const made = baseline([rich], machine, definitions);
    t.equal(made.model, 'Opteron_G5-v1');
    t.notOk(made.features.includes('svm'), 'with it the model has nrip-save, which this host lacks');
    t.ok(made.features.includes('avx2'));
    t.ok(runsEverywhere([rich], made, definitions), machine);
  }
});

void t.test('best comes first: own vendor, then others, then no real CPU; within these by features', async (t) => {
  const machine = 'pc-i440fx-2.2';
  const ranked = runnableModels(realModels(machine), (cpu) => resolveCpu({ machine, cpu, definitions }), [EPYC_6.host]);
  const amd = 'Opteron_G2 Opteron_G1';
  const intel = 'SandyBridge Westmere Nehalem Penryn Conroe';
  t.equal(ranked.map(({ name }) => name).join(' '), `${amd} ${intel} qemu64 kvm64 kvm32 qemu32 base`);
  t.equal(resolveCpu({ machine, cpu: 'best', definitions, host: EPYC_6.host }).model.name, 'Opteron_G2');
});

void t.test('a model is runnable exactly where its guest can start', async (t) => {
  for (const { id, host } of [EPYC_5, EPYC_7, ...hosts.filter(({ host: one }) => altersCpuid(one))]) {
    for (const machine of MACHINES) {
      const models = runnable(host, machine, definitions);
      t.equal(models.length, listModels(machine, definitions).length);
      for (const { name, runs, unavailableFeatures, addedFeatures } of models) {
        const [way] = canMove([{ id, host }], { machine, cpu: name, definitions });
        if (way!.possible !== runs || runs !== (unavailableFeatures.length + addedFeatures.length === 0))
          t.fail(`${machine}/${name} on ${id}`);
      }
    }
  }
  const at = (machine: string, model: string) =>
    runnable(EPYC_6.host, machine, definitions).find(({ name }) => name === model);
  t.match(at('pc-i440fx-1.6', 'Nehalem'), { runs: true });
  t.match(at('pc-i440fx-2.4', 'Nehalem'), { runs: false, unavailableFeatures: ['vme'] });
});

void t.test(
  'host goes neither from the newest kernel to the oldest nor back, and every blocker is named',
  async (t) => {
    const [down, up] = canMove([EPYC_7, EPYC_5], { machine: 'pc-next', cpu: 'host', definitions });
    t.equal(down!.possible, false);
    const lost = down!.hops[1]!.blockers;
    for (const feature of ['vmcb-clean', 'flushbyasid', 'svme-addr-chk', 'lfence-always-serializing'])
      t.match(
        lost.find((one) => one.feature === feature),
        { layer: 'kernel' },
        `${feature}: one CPU, so it is the kernel`,
      );
    t.ok(
      lost.some(({ msr }) => msr === '0xc0000104'),
      'TSC_RATIO',
    );
    t.equal(up!.possible, false);
    t.ok(
      up!.hops[1]!.blockers.every(({ msr, layer }) => msr !== null && layer === 'kernel'),
      'only MSRs are lost upwards',
    );
  },
);

void t.test('a released pair that both kernels run goes both ways', async (t) => {
  for (const cpu of ['Nehalem', 'Westmere', 'SandyBridge', 'kvm64'])
    for (const { possible } of canMove([EPYC_5, EPYC_6, EPYC_7], { machine: 'pc-i440fx-1.6', cpu, definitions }))
      t.equal(possible, true, cpu);
});

void t.test('more vCPUs than a kernel runs do not move there, nor any that nothing could start', async (t) => {
  const few = {
    ...EPYC_6,
    host: { ...EPYC_6.host, capabilities: { ...EPYC_6.host.capabilities, KVM_CAP_MAX_VCPUS: 20 } },
  };
  const asked = (cpu: string, smp: string) =>
    canMove([EPYC_5, few], { machine: 'pc-i440fx-1.6', cpu, smp, definitions })[0]!.hops.map(
      ({ blockers }) => blockers,
    );
  t.strictSame(asked('Opteron_G2', '20'), [[], []]);
  t.match(asked('Opteron_G2', '21'), [[], [{ code: 'too-many-vcpus', layer: 'kernel' }]]);
  t.match(asked('Opteron_G2,-apic', '2'), [[{ code: 'smp-without-apic' }], [{ code: 'smp-without-apic' }]]);
});

void t.test('a host that alters CPUID runs nothing as it is but the model without basic leaves', async (t) => {
  for (const { id, host } of hosts.filter(({ host: one }) => altersCpuid(one))) {
    t.strictSame(
      runnable(host, 'pc-i440fx-1.6', definitions).flatMap(({ name, runs }) => (runs ? [name] : [])),
      ['base'],
      id,
    );
    t.ok(hostFeatures(host).some(({ by, feature }) => by === 'always' && feature === 'avx2'));
    t.match(baseline([{ id, host }], 'pc-i440fx-1.6', definitions), { alteredOn: [id] });
  }
});

void t.test('features say by whom', async (t) => {
  const by = (feature: string) => hostFeatures(EPYC_6.host).find((one) => one.feature === feature)?.by;
  t.equal(by('aes'), 'kernel');
  t.equal(by('rdctl-no'), 'kernel');
  t.equal(by('ht'), 'monitor');
  t.equal(by('monitor'), 'cpu');
  t.equal(by('vme'), undefined);
  t.strictSame(
    hostFeatures(EPYC_6.host)
      .filter(({ offered }) => !offered)
      .map(({ by }) => by)
      .filter((giver) => giver !== 'cpu' && giver !== 'emulate'),
    [],
  );
});

void t.test('a diff is empty of a host with itself, and is turned round when asked the other way', async (t) => {
  const same = hostDiff(EPYC_6, EPYC_6, definitions);
  t.match(same, { facts: [], features: [], additions: [], msrs: [], featureMsrs: [], registers: [], cpu: [] });
  t.match(same, { capabilities: [], moduleParameters: [], pairs: { onlyBefore: [], onlyAfter: [] } });
  const [up, down] = [hostDiff(EPYC_5, EPYC_6, definitions), hostDiff(EPYC_6, EPYC_5, definitions)];
  const turned = { added: 'removed', removed: 'added' } as const;
  t.strictSame(
    down.features,
    up.features.map((one) => ({ ...one, change: turned[one.change] })),
  );
  t.strictSame(
    down.capabilities,
    up.capabilities.map(({ name, before, after }) => ({ name, before: after, after: before })),
  );
  t.strictSame(up.cpu, [], 'one CPU');
  t.match(
    up.msrs.find(({ name }) => name === 'IA32_FIXED_CTR0'),
    { change: 'removed' },
  );
  t.strictSame([up.pairs.onlyBefore, up.pairs.onlyAfter], [down.pairs.onlyAfter, down.pairs.onlyBefore]);
});
