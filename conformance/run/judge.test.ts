/** What the judge does not take an agent's word for: alterations that it left unsaid, and what an earlier host of the path did. */
import t from 'tap';
import { CpuidTable } from '../../corpora/cpuid.js';
import { featureName } from '../../corpora/features.js';
import { vcpuObservationToJson } from '../../corpora/observation.js';
import { loadVolatility } from '../../corpora/volatility/volatility.js';
import { derivedTable, POWER_ON } from '../../reference-vmm/cpu-model/derived.js';
import { alterations } from '../../reference-vmm/cpu-model/differences.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import type { Outcome } from '../hosts/agent/protocol.js';
import { RESET_STATE, simulateVcpu } from '../oracle/simulate.js';
import type { Step } from '../scenarios/scenario.js';
import { type Judgement, judge } from './judge.js';

const { vcpus } = resolve({ machine: 'pc-i440fx-2.4', cpu: 'Nehalem' });
const given = derivedTable(vcpus[0]!.cpuid, POWER_ON);

/** The table with bits of 1.EAX flipped, as a kernel may give it back and show it. */
const flipped = (bits: number): CpuidTable =>
  new CpuidTable(given.rows.map((row) => (row.leaf === 1 ? { ...row, eax: (row.eax ^ bits) >>> 0 } : row)));

const saidOf = (table: CpuidTable) => alterations(given, table, { step: 'boot', vcpu: 0, nameOf: featureName });

/** A guest that sees `table`, of which its agent calls `said` altered. */
const running = (table: CpuidTable, said = saidOf(table), forced: string[] = []): Outcome => ({
  kind: 'running',
  vcpus: structuredClone([vcpuObservationToJson(simulateVcpu(table, RESET_STATE, loadVolatility(), 'kvm'))]) as never,
  readBack: [table.toJSON() as never],
  ...{ altered: said, forced },
});

/** The same guest's dump of that number. */
const atTurn = (outcome: Outcome, sequence: number): Outcome =>
  outcome.kind === 'running'
    ? { ...outcome, vcpus: outcome.vcpus.map((vcpu) => ({ ...vcpu, sequence })) as typeof outcome.vcpus }
    : outcome;

const judgeAll = (...outcomes: readonly Outcome[]): Promise<Judgement> =>
  judge(
    (async function* (): AsyncGenerator<Step> {
      for (const [i, outcome] of outcomes.entries()) yield { name: `step-${i}`, outcome };
    })(),
    vcpus,
  );

void t.test('altered: where the agent names all that the kernel changed, and only there', async (t) => {
  t.equal((await judgeAll(running(flipped(3)))).verdict, 'altered');
  const unsaid = await judgeAll(running(flipped(3), saidOf(flipped(1))));
  t.equal(unsaid.verdict, 'changed');
  t.match(unsaid.reasons, [{ code: 'cpuid-altered', leaf: '0x00000001', register: 'eax' }]);
});

void t.test('what the first host of a path altered or forced is not forgotten on the next', async (t) => {
  t.equal((await judgeAll(running(flipped(1)), running(given))).verdict, 'altered');
  const forced = await judgeAll(running(given, [], ['aes']), running(given));
  t.match(forced, { verdict: 'identical', forced: ['aes'] });
});

void t.test('a witness that saw no change is no dump that meets its contract', async (t) => {
  const witnessed: Outcome = { kind: 'witnessed', vcpus: [{ index: 0, laps: 1, passes: 1, changes: [] }] };
  t.equal((await judgeAll(running(given), running(given))).verdict, 'identical');
  t.equal((await judgeAll(running(given), witnessed)).verdict, 'crashed');
});

void t.test('a dump that was sent before, and one of a guest that began anew, are not the next', async (t) => {
  const second = (sequence: number, how: Pick<Step, 'like' | 'after'>): Promise<Judgement> =>
    judge(
      (async function* (): AsyncGenerator<Step> {
        yield { name: 'boot', outcome: running(given) };
        yield { name: 'second', outcome: atTurn(running(given), sequence), ...how };
      })(),
      vcpus,
    );
  const moved = { like: { step: 'boot', sameBoot: true } };
  const reset = { like: { step: 'boot', sameBoot: false } };
  for (const [how, due, verdict] of [
    [moved, 1, 'dropped'],
    [reset, 0, 'changed'],
    [{ after: 'boot' }, 1, 'changed'],
  ] as const)
    for (const sequence of [0, 1, 2]) {
      const judged = await second(sequence, how);
      if (sequence === due) t.match(judged, { verdict: 'identical', reasons: [] });
      else t.match(judged, { verdict, reasons: [{ code: 'dump-out-of-turn', contract: `${due}`, vcpu: 0 }] });
    }
});
