/** `probe --read-msrs`: what guests of pairs read of all MSRs on hosts, as one table; every host must show the same. */
import { createHash } from 'node:crypto';
import { EXIT, type ExitCode } from '../../corpora/errors.js';
import { msrLabel } from '../../corpora/msrs.js';
import { isOpen } from '../../reference-vmm/cpu-model/msrs.js';
import { isFault, type ReadSweep, readSweepToJson, sweepReads, sweptMsrs } from '../msr-reads.js';
import type { SweepMode } from '../msr-writes.js';
import type { CellPair } from '../run/cell.js';
import { openSweptHosts } from './hosts.js';
import { type CommonOptions, print, printJson } from './output.js';
import { definitionsOf, type PairOptions, pairsOn, somePairs } from './pairs.js';

export interface ReadSweepOptions extends CommonOptions, PairOptions {
  readonly subject: string;
  readonly host?: readonly string[];
  readonly readMsrs: SweepMode;
}

interface Row {
  readonly pair: string;
  /** Held to nothing. */
  readonly open: boolean;
  /** In the order of the hosts. */
  readonly sweeps: readonly ReadSweep[];
}

/** Exit code 1 where any MSR reads otherwise than its identity has it, 3 where no pair has one. */
export async function readSweep(options: ReadSweepOptions): Promise<ExitCode> {
  const definitions = definitionsOf(options.corpora);
  const requests = somePairs(options, definitions);
  const pairs = requests.map((request) => pairsOn([request], definitions));
  await using opened = await openSweptHosts(options.host, options.subject);
  const { hosts } = opened;
  const indices = sweptMsrs(options.readMsrs);
  const rows: Row[] = [];
  for (const pair of pairs) {
    const sweeps: ReadSweep[] = [];
    for (const host of hosts) {
      const [{ identity }] = pair([host]) as [CellPair];
      sweeps.push(await sweepReads(host, identity, indices, isOpen(identity) ? [host] : hosts));
    }
    const [{ identity }] = pair([hosts[0]!]) as [CellPair];
    rows.push({ pair: identity.pair, open: isOpen(identity), sweeps });
  }
  const names = hosts.map(({ summary }) => summary.id);
  if (options.json) printJson('read-sweep', { hosts: names, pairs: rows.map(rowToJson(names)) });
  else print(tableText(rows, names, options.verbose ?? false).join('\n'));
  if (rows.some(({ sweeps }) => sweeps.some(({ findings }) => findings.length > 0))) return EXIT.broken;
  return rows.every(({ open }) => open) ? EXIT.cannot : EXIT.holds;
}

const rowToJson =
  (hosts: readonly string[]) =>
  ({ pair, open, sweeps }: Row): object => ({
    ...{ pair, compared: !open },
    hosts: sweeps.map((sweep, i) => ({ host: hosts[i], ...readSweepToJson(sweep) })),
  });

function tableText(rows: readonly Row[], hosts: readonly string[], verbose: boolean): string[] {
  const cells = [['', ...hosts], ...rows.map(({ pair, sweeps }) => [pair, ...sweeps.map(cellText)])];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const findings = rows.flatMap(({ pair, sweeps }) =>
    sweeps.flatMap((sweep, i) => sweep.findings.map((line) => `  ${pair} on ${hosts[i]}: ${line}`)),
  );
  const held = rows.filter(({ open }) => !open);
  const alike = held.filter(({ sweeps }) => new Set(sweeps.map(digestOf)).size === 1);
  return [
    'MSRs that read, MSRs that fault, and a digest of which they are and of their values',
    ...cells.map((row) =>
      row
        .map((text, column) => text.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    ),
    ...findings,
    ...(verbose ? rows.flatMap(valueLines) : []),
    ...rows.filter(({ open }) => open).map(({ pair }) => `${pair} follows its host: held to nothing`),
    `${hosts.length > 1 ? `${alike.length} of ${held.length} pairs read the same on every host` : `${held.length} pairs`}, ${findings.length} MSRs otherwise than their identity`,
  ];
}

function cellText(sweep: ReadSweep): string {
  const { seen, forced } = sweep;
  const faults = [...seen.values()].filter(isFault).length;
  return `${seen.size - faults} ${faults} ${digestOf(sweep)}${forced.size > 0 ? ` (${forced.size} forced aside)` : ''}`;
}

const digestOf = ({ seen }: ReadSweep): string =>
  createHash('sha256')
    .update([...seen].sort(([a], [b]) => a - b).join())
    .digest('hex')
    .slice(0, 8);

/** What reads on the first host. */
const valueLines = ({ pair, sweeps: [first] }: Row): string[] => [
  pair,
  ...[...first!.seen].filter(([, is]) => !isFault(is)).map(([index, is]) => `  ${msrLabel(index)}: ${is}`),
];
