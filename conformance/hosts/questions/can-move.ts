/** `host can-move`: can a guest go from host to host, and back; every blocker by name. */
import type { Definitions } from '../../../corpora/definitions.js';
import type { Reason } from '../../../corpora/verdict.js';
import { type ResolvedCpu, resolveCpu } from '../../../reference-vmm/cpu-model/resolve.js';
import { moveBlockers, startBlockers } from './blockers.js';
import type { NamedHost } from './named-host.js';

/** Which guest is asked about. */
export interface GuestOf {
  readonly machine: string;
  /** As in `-cpu`; `host`: a guest with all that its first host offers. */
  readonly cpu: string;
  readonly smp?: string;
  readonly definitions: Definitions;
}

/** One way of one guest. */
export interface Way {
  /** Host ids, in order; the guest is made on the first. */
  readonly path: readonly string[];
  readonly possible: boolean;
  readonly hops: readonly Hop[];
}

/** The start on the first host (`from` null), or a move. */
export interface Hop {
  readonly from: string | null;
  readonly to: string;
  readonly blockers: readonly Reason[];
}

/** There and back. Throws `InputError` as `resolve` does. */
export function canMove(hosts: readonly NamedHost[], guest: GuestOf): Way[] {
  const way = wayOf(hosts, guest);
  return hosts.length < 2 ? [way] : [way, wayOf([...hosts].reverse(), guest)];
}

function wayOf(hosts: readonly NamedHost[], { machine, cpu, smp, definitions }: GuestOf): Way {
  const [first, ...others] = hosts;
  const guest = resolveCpu({ machine, cpu, definitions, host: first!.host, ...(smp === undefined ? {} : { smp }) });
  const hops: Hop[] = [{ from: null, to: first!.id, blockers: startBlockers(guest, first!.host) }];
  for (const [i, to] of others.entries()) hops.push(hopOf(guest, machine, hosts[i]!, to));
  return { path: hosts.map(({ id }) => id), possible: hops.every(({ blockers }) => blockers.length === 0), hops };
}

const hopOf = (guest: ResolvedCpu, machine: string, from: NamedHost, to: NamedHost): Hop => ({
  ...{ from: from.id, to: to.id },
  blockers: moveBlockers(guest, machine, from.host, to.host),
});
