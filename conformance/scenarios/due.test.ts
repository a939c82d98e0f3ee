/** A life that ends early says nothing: cut after any of its steps it is never `identical` or `altered`, on recorded hosts. */
import fc from 'fast-check';
import t from 'tap';
import { CpuidTable } from '../../corpora/cpuid.js';
import { hex32 } from '../../corpora/hex.js';
import { identityToJson } from '../../corpora/identity.js';
import { SCENARIOS, type Scenario } from '../../corpora/verdict.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { RecordedHost } from '../hosts/recorded/recorded-host.js';
import { msrExpectation } from '../probe-msrs.js';
import { holds } from '../properties/property.js';
import { recording } from '../reproduce/recorded-steps.js';
import { type Judgement, judge } from '../run/judge.js';
import { type RunOptions, runCell } from '../run/runner.js';
import { QEMU_DUE, QEMU_PLAYS } from '../subjects/qemu/plays.js';
import type { Play, Stage, Step } from './scenario.js';

const [rich, epyc] = await Promise.all([RecordedHost.open('rich/6.12'), RecordedHost.open('EPYC/5.10')]);
/** A kernel that shows every guest AVX2. */
const altering = new RecordedHost('altering', {
  ...rich.capabilities,
  cpuidAdditions: new CpuidTable([{ leaf: 7, subleaf: 0, eax: 0, ebx: 0x20, ecx: 0, edx: 0 }]),
});
const HOSTS = { rich, epyc, altering };
type Name = keyof typeof HOSTS;
/** With XSAVE, without it, and without an APIC. */
const CPUS = ['SandyBridge', 'Nehalem', '486'] as const;

/** The life up to its n-th step. */
const cutAfter = (n: number, play: Play): Play =>
  async function* (stage) {
    let given = 0;
    for await (const step of play(stage)) {
      if (given++ === n) return;
      yield step;
    }
  };

/** Runs the whole life, then all that are shorter. Throws where one of these passes. */
async function tryCuts(run: (around: (play: Play) => Play) => Promise<Pick<Judgement, 'verdict' | 'reasons'>>) {
  const steps: Step[] = [];
  const whole = await run((play) => recording(play, steps));
  if (whole.verdict !== 'identical' && whole.verdict !== 'altered') return whole.verdict;
  for (let n = 0; n < steps.length; n++) {
    const { verdict, reasons } = await run((play) => cutAfter(n, play));
    if (verdict !== 'crashed' || reasons[0]?.layer !== 'harness')
      throw new Error(`${verdict} after ${steps[n - 1]?.name ?? 'no step'}: ${reasons[0]?.message}`);
  }
  return whole.verdict;
}

void t.test('every scenario, along paths of any length', async (t) => {
  const ended = new Set<string>();
  await holds(
    t,
    fc.record({
      scenario: fc.constantFrom(...SCENARIOS),
      cpu: fc.constantFrom(...CPUS),
      smp: fc.constantFrom('1', '1', '2'),
      // By their names, which a counterexample tells.
      path: fc.oneof(
        fc.constant<Name[]>(['altering', 'altering']),
        fc.array(fc.constantFrom<Name[]>('rich', 'epyc'), { minLength: 2, maxLength: 4 }),
      ),
      allowed: fc.boolean(),
    }),
    async ({ scenario, cpu, smp, path, allowed }) => {
      const places = scenario === 'migrate' ? path : path.slice(0, /snapshot/.test(scenario) ? 2 : 1);
      const identity = resolve({ machine: 'pc-i440fx-2.4', cpu, smp });
      const options: RunOptions = { allowAltered: allowed, forceFeatures: allowed, jobs: 1 };
      const cell = { identity, smp, hosts: places.map((name) => HOSTS[name]), scenario };
      const verdict = await tryCuts(async (around) => (await runCell(cell, { ...options, around })).result);
      ended.add(`${scenario} ${verdict}`);
    },
    { seed: 11, runs: 40 },
  );
  for (const scenario of SCENARIOS) t.ok(ended.has(`${scenario} identical`), scenario);
  t.ok([...ended].some((end) => end.endsWith('altered')));
});

void t.test("a QEMU's own: every way to save, and a board without reset ports", async (t) => {
  const own: readonly (readonly [string, Scenario])[] = [
    ['pc-i440fx-2.4', 'snapshot-restore'],
    ['pc-i440fx-2.4', 'reset'],
    ['microvm', 'reset'],
  ];
  for (const [machine, scenario] of own)
    for (const xgetbv of [false, true]) {
      const identity = resolve({ machine: 'pc-i440fx-2.4', cpu: 'SandyBridge' });
      const msrs = msrExpectation(identity);
      const stage: Stage = {
        ...{ hosts: [rich], xgetbv, apic: true, folder: t.testdir() },
        request: {
          identity: structuredClone({ ...identityToJson(identity), machine }) as never,
          ...{ allowAltered: true, forceFeatures: true, msrs: msrs.asked.map(hex32), fault: null },
        },
      };
      const run = (around: (play: Play) => Play) =>
        judge(around(QEMU_PLAYS[scenario])(stage), identity.vcpus, msrs, 'kvm', QEMU_DUE[scenario](stage));
      t.match(await tryCuts(run), /identical|altered/, `${machine} ${scenario}`);
    }
});
