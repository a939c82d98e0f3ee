/** Cells to run: pair x SMP shape x subject x host path x scenario, in a fixed order that shards can split. */
import type { CpuIdentity } from '../../corpora/identity.js';
import type { Scenario } from '../../corpora/verdict.js';
import type { CellKey } from '../../reports/result-log.js';
import type { Host } from '../hosts/host.js';
import { REFERENCE } from '../subjects/subject.js';

/** A cell that has not run yet. */
export interface Cell {
  readonly identity: CpuIdentity;
  /** `1`, `8c4t2`. */
  readonly smp: string;
  readonly hosts: readonly Host[];
  readonly scenario: Scenario;
}

/** The hypervisor of a cell, as results name it; `qemu-5.2 > qemu-7.2` where the guest goes from one to another. */
export const subjectOf = ({ hosts }: Pick<Cell, 'hosts'>): string =>
  [...new Set(hosts.map(({ subject }) => subject?.name ?? REFERENCE))].join(' > ');

/** What names a cell in logs: `pc-i440fx-2.3/Nehalem smp 1 on local: boot`. */
export const cellName = (cell: Cell): string =>
  `${cell.identity.pair} smp ${cell.smp}${cell.hosts[0]!.subject ? ` under ${subjectOf(cell)}` : ''} on ${cell.hosts.map((host) => host.summary.id).join(' > ')}: ${cell.scenario}`;

/** What names the cell in logs, for `cellKey`. */
export const keyOf = (cell: Cell): CellKey => ({
  pair: cell.identity.pair,
  smp: cell.smp,
  subject: subjectOf(cell),
  hosts: cell.hosts.map((host) => host.summary.id),
  scenario: cell.scenario,
});

/** A pair to make cells of. */
export interface CellPair {
  readonly identity: CpuIdentity;
  readonly smp: string;
  /** The host that the identity follows: its guests begin there. Absent for pairs that are the same everywhere. */
  readonly madeOn?: Host;
}

/**
 * All cells of some pairs. `migrate` and snapshots run within each host and over every ordered pair of hosts;
 * the other scenarios on each host.
 */
export function cellsOf(pairs: readonly CellPair[], hosts: readonly Host[], scenarios: readonly Scenario[]): Cell[] {
  return pairs.flatMap(({ identity, smp, madeOn }) =>
    scenarios.flatMap((scenario) =>
      pathsOf(scenario, hosts)
        .filter(([first]) => madeOn === undefined || first === madeOn)
        .map((path) => ({ identity, smp, hosts: path, scenario })),
    ),
  );
}

function pathsOf(scenario: Scenario, hosts: readonly Host[]): Host[][] {
  const single = hosts.map((host) => [host]);
  const ordered = hosts.flatMap((from) => hosts.filter((to) => to !== from).map((to) => [from, to]));
  if (scenario === 'migrate')
    return [...single.filter(([host]) => host!.concurrent).map(([host]) => [host!, host!]), ...ordered];
  if (scenario === 'snapshot-restore' || scenario === 'live-snapshot') return [...single, ...ordered];
  return single;
}

/** Every n-th cell, beginning with the i-th (1-based). */
export const shard = <T>(cells: readonly T[], i: number, n: number): T[] => cells.filter((_, at) => at % n === i - 1);
