/** The answers about hosts as text for people. */
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { reasonLines } from '../../reports/reasons.js';
import type { RunnableAnswer } from '../hosts/lab/runnable-pairs.js';
import type { Baseline } from '../hosts/questions/baseline.js';
import type { Hop, Way } from '../hosts/questions/can-move.js';
import type { AffectedPairs, FeatureChange, HostDiff, MsrChange, ValueChange } from '../hosts/questions/diff.js';
import type { Giver, HostFeature } from '../hosts/questions/features.js';
import type { RunnableModel } from '../hosts/questions/runnable.js';

const GIVERS: Readonly<Record<Giver, string>> = {
  always: 'the kernel shows to every guest, asked or not',
  kernel: 'the kernel offers',
  monitor: 'may be given beyond what the kernel lists',
  emulate: 'the kernel would only emulate: not offered',
  cpu: 'the CPU has, the kernel does not offer',
};

const WIDTH = 118;

/** Words on lines of at most `WIDTH`, indented. */
function wrapped(words: readonly string[], indent = '    '): string[] {
  const lines: string[] = [];
  let line = indent.trimEnd();
  for (const word of words) {
    const longer = line === indent.trimEnd() ? indent + word : `${line} ${word}`;
    if (longer.length > WIDTH && line.trim() !== '') {
      lines.push(line);
      line = indent + word;
    } else line = longer;
  }
  return line.trim() === '' ? lines : [...lines, line];
}

/** A line for each lab CPU; `verbose`: the models of each machine type below it. */
export function runnablePairsText({ of, cpus, richest }: RunnableAnswer, verbose: boolean): string {
  const width = Math.max(...cpus.map(({ cpu }) => cpu.length));
  const lines = cpus.flatMap(({ cpu, capture, pairs }) => [
    `${cpu.padEnd(width)}  ${`${pairs.length}`.padStart(5)} of ${of} pairs run with nothing forced  (${capture ?? 'not captured'})`,
    ...(verbose
      ? [...modelsByMachine(pairs)].flatMap(([machine, models]) => [`  ${machine}:`, ...wrapped(models)])
      : []),
  ]);
  return [...lines, `The richest: ${richest}${verbose ? '' : ' (-v names the pairs)'}`].join('\n');
}

function modelsByMachine(pairs: readonly string[]): Map<string, string[]> {
  const models = new Map<string, string[]>();
  for (const [machine = '', model = ''] of pairs.map((pair) => pair.split('/')))
    models.set(machine, [...(models.get(machine) ?? []), model]);
  return models;
}

export const featuresText = (id: string, { facts }: HostCapabilities, features: readonly HostFeature[]): string =>
  [
    `${id}: ${facts.kernel} ${facts.module} on ${facts.cpuModel}`,
    ...(Object.keys(GIVERS) as Giver[]).flatMap((giver) => {
      const own = features.filter(({ by }) => by === giver);
      if (own.length === 0) return [];
      const names = own.map(({ feature, migratable }) => (migratable ? feature : `${feature} (cannot migrate)`));
      return [`  ${GIVERS[giver]}: ${own.length}`, ...wrapped(names)];
    }),
  ].join('\n');

export function runnableText(id: string, machine: string, models: readonly RunnableModel[]): string {
  const runs = models.filter((model) => model.runs);
  const others = models.filter((model) => !model.runs);
  const width = Math.max(...others.map(({ name }) => name.length), 0);
  const lacks = ({ unavailableFeatures, addedFeatures }: RunnableModel): string =>
    [
      unavailableFeatures.length > 0 && `lacks ${unavailableFeatures.join(' ')}`,
      addedFeatures.length > 0 && `the kernel adds ${addedFeatures.join(' ')}`,
    ]
      .filter(Boolean)
      .join('; ');
  return [
    `${id}, ${machine}: ${runs.length} of ${models.length} models run unfiltered`,
    ...wrapped(
      runs.map(({ name }) => name),
      '  ',
    ),
    ...(others.length > 0 ? ['Others:'] : []),
    ...others.map((model) => `  ${model.name.padEnd(width)}  ${lacks(model)}`),
  ].join('\n');
}

const FEW = 8;
const few = (lines: readonly string[], all: boolean, indent: string): string[] =>
  all || lines.length <= FEW
    ? lines.map((line) => indent + line)
    : [...lines.slice(0, FEW).map((line) => indent + line), `${indent}and ${lines.length - FEW} more (-v shows all)`];

export const waysText = (pair: string, ways: readonly Way[], verbose: boolean): string =>
  ways
    .flatMap(({ path, possible, hops }) => [
      `${pair}: ${path.join(' > ')}: ${possible ? 'yes' : 'no'}`,
      ...hops.flatMap((hop) => hopLines(hop, verbose)),
    ])
    .join('\n');

function hopLines({ from, to, blockers }: Hop, verbose: boolean): string[] {
  if (blockers.length === 0) return [];
  const told = [...new Set(blockers.map(({ layer }) => layer))].flatMap((layer) =>
    reasonLines(blockers.filter((one) => one.layer === layer)).map((line) => (layer ? `${line}  [${layer}]` : line)),
  );
  return [from === null ? `  does not run on ${to}` : `  ${from} > ${to}`, ...few(told, verbose, '    ')];
}

export const baselineText = (ids: readonly string[], { machine, cpu, model, features, alteredOn }: Baseline): string =>
  [
    `${machine}, ${ids.length} hosts: ${model} and ${features.length} features`,
    `  -cpu ${cpu}`,
    ...alteredOn.map((id) => `  ${id} alters CPUID: there a guest sees more than this`),
  ].join('\n');

export function diffText(diff: HostDiff, verbose: boolean): string {
  const changes = [
    ...section('Features', featureLines(diff.features), verbose),
    ...section('Shown to every guest', featureLines(diff.additions), verbose),
    ...section('MSRs', diff.msrs.map(msrLine), verbose),
    ...section('Feature MSRs', diff.featureMsrs.map(valueLine), verbose),
    ...section('CPUID of the kernel beside features', diff.registers.map(valueLine), verbose),
    ...section('CPUID of the CPU', diff.cpu.map(valueLine), verbose),
    ...section('Capabilities', diff.capabilities.map(valueLine), verbose),
    ...section('Module parameters', diff.moduleParameters.map(valueLine), verbose),
  ];
  return [
    `${diff.before} > ${diff.after}`,
    ...diff.facts.map((fact) => `  ${valueLine(fact)}`),
    ...(changes.length > 0 ? changes : ['Nothing else differs.']),
    ...pairLines(diff.pairs, verbose),
  ].join('\n');
}

const section = (title: string, lines: readonly string[], verbose: boolean): string[] =>
  lines.length === 0 ? [] : [`${title}: ${lines.length}`, ...few(lines, verbose, '  ')];

const SIGN = { added: '+', removed: '-' } as const;
const featureLines = (changes: readonly FeatureChange[]): string[] =>
  changes.map(({ feature, field, bit, change }) => `${SIGN[change]} ${feature} (CPUID ${field}[${bit}])`);
const msrLine = ({ msr, name, change }: MsrChange): string => `${SIGN[change]} ${msr}${name ? ` ${name}` : ''}`;
const valueLine = ({ name, before, after }: ValueChange): string =>
  `${name}: ${before ?? 'absent'} > ${after ?? 'absent'}`;

const pairLines = ({ onBoth, onNeither, onlyBefore, onlyAfter }: AffectedPairs, verbose: boolean): string[] => [
  `Released pairs: ${onBoth} run on both, ${onNeither} on neither, ${onlyBefore.length} only before, ${onlyAfter.length} only after`,
  ...section('Only before', onlyBefore, verbose),
  ...section('Only after', onlyAfter, verbose),
];
