/** When guests that ran qualify a machine type, and what keeps them from it. */
import t from 'tap';
import { CONTRACT_SHAPES } from '../../corpora/contracts.js';
import { type CellResult, SCENARIOS, type Verdict } from '../../corpora/verdict.js';
import { globMatcher } from '../cli/options.js';
import type { Host } from '../hosts/host.js';
import { RecordedHost } from '../hosts/recorded/recorded-host.js';
import { runsItem } from './run-items.js';

const captured = await RecordedHost.open('rich/6.12');
/** A host as runs on a real kernel name it. */
const host: Host = {
  summary: { ...captured.summary, id: 'lab:6.12/rich' },
  capabilities: captured.capabilities,
  concurrent: false,
  open: () => captured.open(),
  warm: () => captured.warm(),
  [Symbol.asyncDispose]: async () => {},
};
const cellsOf = (model: string, verdict: Verdict): CellResult[] =>
  CONTRACT_SHAPES.flatMap((smp) =>
    SCENARIOS.map((scenario) => ({
      ...{ pair: `pc-acme-1.0/${model}`, smp, subject: 'reference-vmm', hosts: [host.summary.id], scenario },
      ...{ verdict, predicted: verdict, forced: [], evidence: 'resolved-only', reasons: [], ms: 1 },
    })),
  );
const ran = cellsOf('kvm64', 'identical');
const both = [...ran, ...cellsOf('Broadwell', 'refused')];
const item = (models: string[], results: readonly CellResult[], notRun: string[] = [], asked = results.length) =>
  runsItem(
    { models, names: models.length },
    [host],
    { asked, results },
    notRun.map((glob) => ({ glob, matches: globMatcher(glob) })),
  );

void t.test('all ran identically: passed; one cell less: open', async (t) => {
  t.match(item(['kvm64'], ran), { outcome: 'passed', problems: [] });
  t.match(item(['kvm64'], ran, [], ran.length + 1), { outcome: 'open', problems: [/1 of \d+ cells were not run/] });
  for (const smp of CONTRACT_SHAPES) {
    const others = ran.filter((cell) => cell.smp !== smp);
    t.match(item(['kvm64'], others), {
      outcome: 'open',
      problems: [`not seen running on any given host: kvm64 (smp ${smp})`, /no guest/],
    });
  }
  for (const spoilt of [{ forced: ['aes'] }, { hosts: ['recorded:rich/6.12'] }, { verdict: 'skipped' as const }])
    t.equal(
      item(
        ['kvm64'],
        ran.map((cell) => ({ ...cell, ...spoilt })),
      ).outcome,
      'open',
      JSON.stringify(spoilt),
    );
  const [first, ...others] = ran;
  t.equal(item(['kvm64'], [{ ...first!, verdict: 'changed' }, ...others]).outcome, 'failed');
});

void t.test('a model that no host runs keeps it open, unless it is named: then the evidence names it', async (t) => {
  const models = ['kvm64', 'Broadwell'];
  t.match(item(models, both), {
    outcome: 'open',
    problems: [/not seen running on any given host: Broadwell \(smp 1\)/],
  });
  const accepted = item(models, both, ['Broad*']);
  t.equal(accepted.outcome, 'passed');
  t.match(accepted.evidence.at(-1), /^NOT SEEN RUNNING, and accepted so: Broadwell \(smp 1\) Broadwell \(smp 8c4t2\)/);
  t.match(item(models, both, ['Broad*', 'kvm*']), {
    outcome: 'open',
    problems: [/--accept-not-run kvm\* names no model/],
  });
});
