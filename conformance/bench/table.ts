/** The table of benchmarks, for a terminal and as Markdown. */
import { table as markdownTable, text } from '../../reports/markdown.js';
import type { MachineFacts } from './machine-facts.js';
import { isMissed, type Row, type Unit } from './row.js';
import type { Spread } from './spread.js';

export interface Results {
  readonly schema: 'guest-abi/bench/2';
  readonly at: string;
  readonly machine: MachineFacts;
  readonly rows: readonly Row[];
  /** Measurements that this machine cannot do: name and why. */
  readonly cannot: readonly (readonly [string, string])[];
}

const HEAD = ['', 'What', 'Median (quartiles)', 'Beside, in the same run', 'Ratio', 'Goal'];

export const machineLine = ({ kernel, module, cpu, cores, node, load }: MachineFacts): string =>
  `${kernel} ${module}, ${cpu}, ${cores} cores, node ${node}, load ${load.toFixed(1)}${load > cores ? ': OTHERS WERE AT WORK, so that only ratios mean something' : ''}`;

/** For a terminal: columns as wide as they need to be. */
export function textTable({ machine, rows, cannot }: Results): string {
  const lines = [HEAD, ...rows.map(cellsOf)];
  const widths = HEAD.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)));
  return [
    machineLine(machine),
    ...lines.map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    ),
    ...cannot.map(([name, why]) => `cannot  ${name}: ${why}`),
  ].join('\n');
}

export function markdownDocument(results: Results): string {
  const { at, machine, rows, cannot } = results;
  return [
    '# Benchmarks',
    '',
    `Written by ${'`npm run bench -- --write`'} on ${at.slice(0, 10)}: ${text(machineLine(machine))}.`,
    'Only work that ended in decoded, checksummed dumps counts. Ratios are of medians of one run, whose rounds take turns.',
    'Migrations, live saves and restores of a guest that writes are timed by its beats on both sides: the witness probe writes a byte to COM1 every 2^20 TSC',
    'ticks or so (0.4 ms; 1.5 ms where a KVM emulates its guest), and the process that measures notes when it comes. So a time without beats also holds one such',
    'interval, and the first beat what the guest needs to begin.',
    '',
    ...markdownTable(
      HEAD,
      rows.map((row) => cellsOf(row).map(text)),
    ),
    ...cannot.flatMap(([name, why]) => [`Not measured: ${text(name)}: ${text(why)}`, '']),
  ].join('\n');
}

function cellsOf(row: Row): string[] {
  const { what, unit, value, against, goal } = row;
  const mark = goal ? (isMissed(row) ? 'MISSED' : 'ok') : '';
  return [
    mark,
    what,
    amount(value, unit),
    against ? `${against.what}: ${amount(against.value, unit)}` : '',
    against ? against.ratio.toFixed(2) : '',
    goal ? `${goal.kind === 'at-most' ? '<=' : '>='} ${goal.value}${against ? '' : ` ${unit}`}` : '',
  ];
}

function amount(value: Spread | number, unit: Unit): string {
  const written = (one: number): string => (one < 10 ? one.toFixed(2) : one < 100 ? one.toFixed(1) : one.toFixed(0));
  if (typeof value === 'number') return `${written(value)} ${unit}`;
  return `${written(value.median)} ${unit} (${written(value.lower)} to ${written(value.upper)})`;
}
