/** Markdown (GitHub's flavour), for job summaries, merge requests and bug trackers: the conclusion first, then what failed, then the rest folded. */
import { byGroup, type Check, type CheckReport, groupBy, linesOf } from './checks.js';

/** Names shown of checks with one finding, and findings shown: GitHub cuts a summary at 1 MiB. */
const MOST_NAMES = 20;
const MOST_FINDINGS = 50;

const WORD = {
  holds: 'holds',
  broken: 'is BROKEN',
  'nothing-verified': 'was not verified',
  incomplete: 'was not seen whole',
} as const;

export function markdownReport(report: CheckReport): string {
  const failed = report.checks.filter(({ outcome }) => outcome === 'failed');
  const skipped = report.checks.filter(({ outcome }) => outcome === 'skipped');
  return [
    `# ${text(report.title)}: the contract ${WORD[report.conclusion]}`,
    '',
    `**${text(report.summary)}**`,
    '',
    ...(report.facts.length > 0
      ? table(
          ['Where', 'What'],
          report.facts.map(([name, value]) => [code(name), text(value)]),
        )
      : []),
    ...(failed.length > 0 ? ['## What failed', '', ...findings(failed)] : []),
    '## Counts',
    '',
    ...table(['Group', 'passed', 'failed', 'skipped'], countRows(report.checks)),
    ...(skipped.length > 0 ? folded(`Skipped: ${skipped.length}, which proves nothing`, findings(skipped)) : []),
    `guest-abi ${text(report.version)}${report.startedAt ? `, run of ${report.startedAt}` : ''}`,
    '',
  ].join('\n');
}

const countRows = (checks: readonly Check[]): string[][] =>
  [...byGroup(checks)].map(([group, own]) => [
    text(group),
    ...(['passed', 'failed', 'skipped'] as const).map(
      (outcome) => `${own.filter((check) => check.outcome === outcome).length || ''}`,
    ),
  ]);

/** Checks that found the same stand under it once. */
function findings(checks: readonly Check[]): string[] {
  const alike = [...groupBy(checks, (check) => JSON.stringify([check.verdict, linesOf(check)]))];
  const rest = alike.length - MOST_FINDINGS;
  return [
    ...alike.slice(0, MOST_FINDINGS).flatMap(([, own]) => finding(own)),
    ...(rest > 0 ? [`and ${rest} more kinds of findings, which the log holds`, ''] : []),
  ];
}

function finding(own: readonly Check[]): string[] {
  const lines = linesOf(own[0]!).map((line) => `- ${text(line)}`);
  const names = [...groupBy(own, ({ group }) => group)].map(([group, checks]) => {
    const more = checks.length - MOST_NAMES;
    const shown = checks.slice(0, MOST_NAMES).map(({ name }) => code(name));
    return `${text(group)}: ${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
  });
  const many = own.length === 1 ? '' : ` (${own.length} times)`;
  return [`**${text(own[0]!.verdict)}**${many}`, '', ...lines, '', ...names.flatMap((line) => [line, ''])];
}

export const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] => [
  `| ${head.join(' | ')} |`,
  `| ${head.map(() => '---').join(' | ')} |`,
  ...rows.map((row) => `| ${row.join(' | ')} |`),
  '',
];

const folded = (title: string, lines: readonly string[]): string[] => [
  '<details>',
  `<summary>${text(title)}</summary>`,
  '',
  ...lines,
  '</details>',
  '',
];

/** Plain text: nothing in it is markup. */
export const text = (value: string): string =>
  value
    .replace(/\s+/g, ' ')
    .replace(/[\\`*_[\]<>|~&#]/g, (char) => (char === '<' ? '&lt;' : char === '&' ? '&amp;' : `\\${char}`));

/** A name as code, also within a table. */
export const code = (value: string): string => `\`${value.replaceAll('`', "'").replaceAll('|', '\\|')}\``;
