/** What boots of affected pairs make of a gate whose tables hold. */
import t from 'tap';
import { type CellResult, reason, type Verdict } from '../../corpora/verdict.js';
import { checkReporter } from '../../reports/reporters.js';
import { gateChecks } from './checks.js';
import { concludeGate, conclusionText, type GateResult, RELEASED_PAIRS } from './result.js';

const HOLDS: GateResult = {
  ...{
    base: 'git:1',
    head: 'worktree',
    subject: RELEASED_PAIRS,
    held: [],
    findings: [],
    added: [],
    removed: [],
    notes: [],
  },
  totals: { unchanged: 7, broken: 0, added: 1 },
};

const booted = (verdict: Verdict, predicted: Verdict): CellResult => ({
  ...{
    pair: 'pc-next/New',
    smp: '1',
    subject: 'reference-vmm',
    hosts: ['local'],
    scenario: 'boot',
    verdict,
    predicted,
  },
  ...{ forced: [], evidence: 'resolved-only', ms: 1 },
  reasons: [reason({ code: 'cpuid-changed', step: 'boot', message: 'CPUID 1.EAX differs' })],
});

void t.test(
  'a guest of a new pair that does not see its CPU breaks the gate; one that is refused as predicted does not',
  async (t) => {
    t.equal(concludeGate(HOLDS, [booted('refused', 'refused')]), 'holds');
    for (const broken of [
      booted('changed', 'identical'),
      booted('crashed', 'identical'),
      booted('refused', 'identical'),
    ]) {
      const boots = [booted('identical', 'identical'), broken];
      t.equal(concludeGate(HOLDS, boots), 'broken');
      t.match(conclusionText(HOLDS, boots), /^BROKEN: 7 released pairs unchanged, .*, 1 boot broke$/);
      const { conclusion, checks } = gateChecks(HOLDS, '1', [], boots);
      t.equal(conclusion, 'broken');
      t.match(checks, [{ name: 'pc-next/New booted on local', outcome: 'failed', summary: /CPUID 1\.EAX differs/ }]);
    }
  },
);

void t.test('what is removed is told in every format, and breaks nothing', async (t) => {
  const result = { ...HOLDS, removed: [{ what: 'machine type pc-1.0', pairs: 66 }] };
  t.equal(concludeGate(result), 'holds');
  t.match(conclusionText(result), /^Holds: 7 released pairs unchanged, 0 broken, 1 new, 66 removed$/);
  const report = gateChecks(result, '1', []);
  const sarif = (await checkReporter('sarif'))(report);
  t.match(JSON.parse(sarif), { runs: [{ results: [{ kind: 'review', level: 'none', ruleId: 'removed' }] }] });
  for (const format of ['github', 'junit', 'tap', 'markdown', 'sarif'] as const)
    t.match((await checkReporter(format))(report), /machine type pc-1\.0 is gone/, format);
});
