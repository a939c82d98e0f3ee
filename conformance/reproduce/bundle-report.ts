/** A bundle's REPORT.md: what happened in words first, then where, then what is expected and seen, then how to see it again. */

import { requirements } from '../../corpora/requirements.js';
import type { Layer, Reason, Scenario, Verdict } from '../../corpora/verdict.js';
import { groupBy } from '../../reports/checks.js';
import { code, table, text } from '../../reports/markdown.js';
import { reasonLines } from '../../reports/reasons.js';
import type { CellBundle } from './bundle.js';

const LIFE: Readonly<Record<Scenario, string>> = {
  boot: 'was booted',
  reset: 'was reset',
  'cold-start': 'was started again in a new process',
  'snapshot-restore': 'was saved and restored',
  migrate: 'was migrated',
} as Readonly<Record<Scenario, string>>;

const HAPPENED: Readonly<Record<Verdict, string>> = {
  identical: 'saw its contract',
  refused: 'was refused by the monitor, and never ran',
  changed: 'saw another CPU than its contract promises',
  dropped: 'lost state that had been accepted',
  altered: 'saw a table that the kernel had altered',
  crashed: 'crashed',
  hung: 'did not answer any more',
  skipped: 'was not run',
};

const BLAME: Readonly<Record<Layer, string>> = {
  'host-cpu': 'the host CPU',
  kernel: "the host's kernel",
  monitor: 'the hypervisor or its definitions',
  guest: 'the guest itself',
  harness: 'the connection to the host',
};

export function bundleReport(bundle: Omit<CellBundle, 'files'>): string {
  const { cell, hosts, minimisedFrom, reproduced } = bundle;
  const ids = [...new Set(cell.reasons.flatMap(({ requirement }) => requirement ?? []))];
  return [
    `# ${text(cell.pair)}: ${headline(cell.reasons, cell.verdict)}`,
    '',
    explanation(bundle),
    '',
    ...(cell.reasons.length > 0 ? ['## Expected and seen', '', ...expectedAndSeen(cell.reasons)] : []),
    ...ids.flatMap((id) => {
      const requirement = requirements().find((one) => one.id === id);
      return requirement
        ? [`${code(id)}: ${text(requirement.sentence)} (${text(requirement.sources.join('; '))})`, '']
        : [];
    }),
    '## Where',
    '',
    ...table(
      ['Host', 'Kernel', 'CPU'],
      hosts.map(({ id, kernel, module, cpu }) => [code(id), text(`${kernel} ${module}`), text(cpu)]),
    ),
    `CPU ${code(cell.pair)}, ${cell.smp === '1' ? 'one vCPU' : `SMP shape ${code(cell.smp)}`}, ${text(cell.subject)}; contract from ${text(cell.evidence)}; guest-abi ${text(bundle.version)}, node ${text(bundle.node)}.`,
    ...(cell.forced.length > 0
      ? ['', `Features forced though the host does not offer them: ${cell.forced.map(code).join(' ')}.`]
      : []),
    '',
    '## See it again',
    '',
    'In this folder, on any machine, from what was recorded (no KVM is needed):',
    '',
    '    guest-abi reproduce .',
    '',
    'On a host:',
    '',
    `    guest-abi reproduce . --host ${[...new Set(cell.hosts)].map((id) => `'${id}'`).join(' --host ')}`,
    '',
    ...dumpHint(bundle),
    reproducedLine(reproduced),
    ...(minimisedFrom ? [`First seen in: ${text(minimisedFrom)}; this smaller one shows the same.`] : []),
    '',
  ].join('\n');
}

/** `the guest sees aes, which its contract lacks` where that can be said, else the first finding. */
function headline(reasons: readonly Reason[], verdict: Verdict): string {
  const named = [...new Set(reasons.flatMap(({ feature }) => feature ?? []))];
  if (reasons.length > 0 && reasons.every(({ step }) => step === 'resolve'))
    return 'the definitions changed a released CPU';
  if (named.length === 0 || named.length > 3) return `the guest ${HAPPENED[verdict].split(',')[0]}`;
  return `${text(named.join(', '))}: the guest ${HAPPENED[verdict].split(',')[0]}`;
}

function explanation({ cell }: Omit<CellBundle, 'files'>): string {
  const { hosts, scenario, verdict, predicted, reasons } = cell;
  const path = [...new Set(hosts)].map(code);
  const where = path.length > 1 ? `from ${path.join(' to ')}` : `on ${path[0]}`;
  const layers = [...new Set(reasons.flatMap(({ layer }) => layer ?? []))].map((layer) => BLAME[layer]);
  const neverRan = reasons.length > 0 && reasons.every(({ step }) => step === 'resolve');
  return [
    neverRan
      ? `CPU ${code(cell.pair)} does not resolve to its frozen contract any more: a guest that has run with it would now see another CPU.`
      : `A guest with CPU ${code(cell.pair)} ${LIFE[scenario] ?? `went through ${scenario}`} ${where}, and ${HAPPENED[verdict]}.`,
    ...(verdict === predicted || neverRan
      ? []
      : [
          `From what the host offers, ${predicted === 'identical' ? 'its exact contract' : `'${predicted}'`} was to be expected.`,
        ]),
    ...(reasons.length > 0
      ? [
          `What differs: ${text(reasonLines(reasons).slice(0, 3).join('; '))}${reasonLines(reasons).length > 3 ? '; and more, below' : ''}.`,
        ]
      : []),
    ...(layers.length > 0 ? [`It is ${layers.join(' and ')} that makes the difference.`] : []),
    ...(verdict === 'changed'
      ? [
          'Software in the guest that looked at its CPU before will find another one now: this breaks live migration, snapshots and licences bound to the CPU.',
        ]
      : []),
  ].join(' ');
}

/** One line per register or MSR; bits of one register stand together. */
function expectedAndSeen(reasons: readonly Reason[]): string[] {
  const rows = [
    ...groupBy(reasons, ({ leaf, subleaf, register, msr, code: kind, contract, guest }) =>
      JSON.stringify([leaf, subleaf, register, msr, kind, contract, guest]),
    ),
  ].map(([, own]) => {
    const { contract, guest, step } = own[0]!;
    const [line] = reasonLines(own);
    return [text(line!.split(': contract ')[0]!), code(contract ?? '-'), code(guest ?? '-'), text(step)];
  });
  return table(['Field', 'Contract', 'Guest or host', 'Step'], rows);
}

function dumpHint({ cell }: Omit<CellBundle, 'files'>): string[] {
  const step = cell.reasons[0]?.step;
  return cell.verdict === 'changed' && step && step !== 'resolve'
    ? ['The dumps beside the contract:', '', `    guest-abi diff dumps/contract.json dumps/${step}.json`, '']
    : [];
}

const reproducedLine = (reproduced: boolean | null): string =>
  reproduced === null
    ? 'It was bundled from a log, away from its hosts.'
    : reproduced
      ? 'It showed again when it was bundled.'
      : 'It did NOT show again when it was bundled: it may come and go.';
