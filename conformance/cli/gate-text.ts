/** What `gate` found, for people: by cause, short. */
import type { CellResult } from '../../corpora/verdict.js';
import { counted, reasonLines } from '../../reports/reasons.js';
import { machineRanges } from '../gate/machine-ranges.js';
import { type ChangeKind, conclusionText, type GateFinding, type GateResult, sameCause } from '../gate/result.js';

export interface GateTextOptions {
  readonly verbose: boolean;
  /** All machine types, oldest first. */
  readonly order: readonly string[];
  /** Boots of affected pairs; null where no host was given. */
  readonly boots: readonly CellResult[] | null;
}

const FEW = 4;

export function gateText(result: GateResult, options: GateTextOptions): string {
  return [
    `${result.base} > ${result.head}`,
    ...sameCause(result.findings).flatMap((group) => ['', ...causeLines(group, options)]),
    ...(result.findings.length > 0 ? [''] : []),
    ...nameLines('new    ', result.added, options.verbose),
    ...nameLines('gone   ', result.removed, options.verbose),
    ...bootLines(options.boots),
    ...result.notes.map((note) => `note    ${note}`),
    conclusionText(result, options.boots),
  ].join('\n');
}

function nameLines(title: string, names: GateResult['added'], verbose: boolean): string[] {
  const lines = names.map(({ what, pairs }) => `${title} ${what}: ${counted(pairs, 'pair')}`);
  if (verbose || lines.length <= FEW) return lines;
  return [...lines.slice(0, FEW), `${title} and ${lines.length - FEW} more (-v shows all)`];
}

/** What guests saw on real hosts: one boot for each way in which tables changed. */
function bootLines(boots: readonly CellResult[] | null): string[] {
  if (boots === null) return [];
  if (boots.length === 0) return ['boots   no pair is affected: nothing was booted'];
  return boots.map(({ pair, hosts, verdict, reasons }) => {
    const [first, ...more] = reasonLines(reasons);
    const rest = more.length > 0 ? ` and ${more.length} more` : '';
    return `booted  ${pair} on ${hosts.join(', ')}: ${verdict}${first ? `: ${first}${rest}` : ''}`;
  });
}

const pairsIn = (findings: readonly GateFinding[]): string[] => unique(findings.flatMap(({ pairs }) => pairs));
const unique = <T>(values: readonly T[]): T[] => [...new Set(values)];

const TITLES: Readonly<Record<ChangeKind, string>> = {
  changed: 'BROKEN  ',
  removed: 'GONE    ',
  'contract-changed': 'CONTRACT EDITED  ',
  'contract-removed': 'CONTRACT GONE  ',
  'contract-wrong': 'CONTRACT WRONG  ',
  unpinned: 'UNPINNED  ',
};

function causeLines(group: readonly GateFinding[], { verbose, order }: GateTextOptions): string[] {
  const [{ kind, causes }] = group as [GateFinding];
  const few = (lines: readonly string[]): string[] =>
    verbose || lines.length <= FEW
      ? [...lines]
      : [...lines.slice(0, FEW), `and ${lines.length - FEW} more (-v shows all)`];
  const models = unique(group.flatMap((one) => one.models)).sort();
  const machines = machineRanges(unique(group.flatMap((one) => one.machines)), order);
  const reasons = unique(group.flatMap((one) => reasonLines(one.reasons)));
  const on = machines ? ` on ${machines}` : '';
  return [
    `${TITLES[kind]}${few(models).join(', ')}${on}${machines ? ` (${counted(pairsIn(group).length, 'pair')})` : ''}`,
    ...part('edit', few(causes.map(causeText))),
    ...part('guest', few(reasons)),
    ...part('means', few(unique(group.flatMap((one) => one.effects)))),
    ...part('fix', few(fixTexts(group, kind, order))),
  ];
}

const causeText = ({ file, line, property, text }: GateFinding['causes'][number]): string =>
  file === null || property === null ? text : `${file}${line === null ? '' : `:${line}`}: ${text}`;

/** What is no property is restored, which takes a patch. */
function fixTexts(group: readonly GateFinding[], kind: ChangeKind, order: readonly string[]): string[] {
  if (kind.startsWith('contract-')) return ['a contract is never edited: --fix prints the patch that restores it'];
  const machines = new Map<string, string[]>();
  for (const { line, machines: own } of group.flatMap(({ fix }) => fix))
    machines.set(line, unique([...(machines.get(line) ?? []), ...own]));
  const isOfFiles = group.some(({ causes }) => causes.some(({ file }) => file !== null));
  if (machines.size === 0 && kind === 'removed' && isOfFiles) return ['--fix prints the patch that brings it back'];
  return [...machines].map(([line, own]) => `${line}${own.length > 0 ? ` in ${machineRanges(own, order)}` : ''}`);
}

const part = (title: string, lines: readonly string[]): string[] =>
  lines.map((line, i) => `  ${(i === 0 ? title : '').padEnd(7)}${line}`);
