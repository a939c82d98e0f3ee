/** A gate's result as the checks that CI systems are told: one that failed for each cause, one that passed for each model that held. */
import type { CellResult } from '../../corpora/verdict.js';
import { type Check, type CheckReport, REMOVED } from '../../reports/checks.js';
import { reasonLines } from '../../reports/reasons.js';
import { isBreak } from '../../reports/result-log.js';
import { machineRanges } from './machine-ranges.js';
import { type Boots, concludeGate, conclusionText, type GateFinding, type GateResult, sameCause } from './result.js';

/** @param order all machine types, oldest first */
export function gateChecks(
  result: GateResult,
  version: string,
  order: readonly string[],
  boots: Boots = null,
): CheckReport {
  const conclusion = concludeGate(result, boots);
  return {
    title: 'guest-abi gate',
    version,
    startedAt: '',
    conclusion: conclusion === 'nothing-compared' ? 'nothing-verified' : conclusion,
    summary: conclusionText(result, boots),
    facts: [
      ['base', result.base],
      ['head', result.head],
    ],
    checks: [
      ...sameCause(result.findings).map((group) => failedCheck(group, order)),
      ...(boots ?? []).filter(isBreak).map(bootCheck),
      ...result.removed.map(({ what, pairs }) => removedCheck(what, pairs)),
      ...result.held.map(({ model, pairs }) => heldCheck(model, pairs)),
      ...(conclusion === 'nothing-compared' ? [nothingCheck(result)] : []),
    ],
  };
}

/** The same in every run: fingerprints of findings are made with it. */
const GROUP = 'released pairs';

function failedCheck(group: readonly GateFinding[], order: readonly string[]): Check {
  const [{ kind, causes, effects, fix, reasons }] = group as [GateFinding];
  const models = [...new Set(group.flatMap((one) => one.models))].sort();
  const machines = machineRanges([...new Set(group.flatMap((one) => one.machines))], order);
  const file = causes.find((cause) => cause.file !== null);
  const texts = causes.map(({ text }) => text).join('; ');
  const lines = reasonLines(reasons);
  const summary = [
    `${texts || kind}: ${lines[0] ?? kind}${lines.length > 1 ? ` (and ${lines.length - 1} more)` : ''}`,
    ...effects.slice(0, 1),
    ...(fix.length > 0 ? [`compat property that keeps it: ${fix.map(({ line }) => line).join(' ')}`] : []),
  ].join('. ');
  return {
    group: GROUP,
    name: `${models.join(', ')}${machines ? ` on ${machines}` : ''}`,
    outcome: 'failed',
    verdict: kind,
    summary,
    // One finding for a cause, whatever it changed: its first difference tells the requirement, its text the rest.
    reasons: reasons.slice(0, 1).map((reason) => ({ ...reason, message: summary })),
    place: file ? { file: file.file!, line: file.line, inCorpora: false } : null,
    ms: 0,
  };
}

const bootCheck = ({ pair, hosts, verdict, predicted, reasons, ms }: CellResult): Check => ({
  ...{ group: GROUP, name: `${pair} booted on ${hosts.join(' > ')}`, outcome: 'failed', verdict },
  summary: `${verdict}, predicted ${predicted}: ${reasonLines(reasons)[0] ?? 'no reason was told'}`,
  ...{ reasons, place: null, ms },
});

/** Told everywhere, and no failure: QEMU announces removals. */
const removedCheck = (what: string, pairs: number): Check => ({
  ...{ group: GROUP, name: `${what} is gone`, outcome: 'skipped', verdict: REMOVED },
  summary: `the head has no ${what} any more: guests of ${pairs} pairs cannot be started with it`,
  ...{ reasons: [], place: null, ms: 0 },
});

const heldCheck = (model: string, pairs: number): Check => ({
  ...{ group: GROUP, name: `${model}: ${pairs} released pairs`, outcome: 'passed', verdict: 'unchanged' },
  ...{ summary: '', reasons: [], place: null, ms: 0 },
});

const nothingCheck = (result: GateResult): Check => ({
  ...{ group: GROUP, name: 'compared', outcome: 'failed', verdict: 'nothing-compared' },
  ...{ summary: conclusionText(result), reasons: [], place: null, ms: 0 },
});
