/** A bundle's REPORT.md: what happened in words first, then where, then what is expected and seen, then how to see it again. */

import { requirements } from '../../corpora/requirements.js';
import type { Reason } from '../../corpora/verdict.js';
import { groupBy } from '../../reports/checks.js';
import { code, table, text } from '../../reports/markdown.js';
import { reasonLines } from '../../reports/reasons.js';
import type { CellBundle } from './bundle.js';
import { explanation, headline, isOtherRefusal } from './bundle-words.js';

export function bundleReport(bundle: Omit<CellBundle, 'files'>): string {
  const { cell, hosts, minimisedFrom, reproduced } = bundle;
  const ids = [...new Set(cell.reasons.flatMap(({ requirement }) => requirement ?? []))];
  return [
    `# ${text(cell.pair)}: ${headline(cell)}`,
    '',
    explanation(cell),
    '',
    ...findings(cell.reasons.filter((one) => !isOtherRefusal(one))),
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

/** What has an expected value stands in a table, what a guest or a host said last by itself. */
function findings(reasons: readonly Reason[]): string[] {
  const said = reasons.filter(({ contract, guest }) => contract === null && guest === null);
  const fields = reasons.filter((one) => !said.includes(one));
  return [
    ...(fields.length > 0 ? ['## Expected and seen', '', ...expectedAndSeen(fields)] : []),
    ...(said.length > 0
      ? ['## What was told', '', ...said.map(({ step, message }) => `- ${code(step)}: ${text(message)}`), '']
      : []),
  ];
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
    const [field, effect] = line!.split(VALUES);
    const seen = guest === null ? text(effect?.replace(/^[^:]*: /, '') ?? '-') : code(guest);
    return [text(field!), code(contract ?? '-'), seen, text(step)];
  });
  return table(['Field', 'Contract', 'Guest or host', 'Step'], rows);
}

/** Where the values begin in a line: they have columns of their own. */
const VALUES = /: (?:contract|was|given) /;

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
