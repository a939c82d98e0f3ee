/** Model `best`: the best named model that a host runs unfiltered, and the order that "best" means. */
import { MachineError } from '../../corpora/errors.js';
import { featureDictionary } from '../../corpora/features.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { isOffered } from './enforce.js';
import type { ResolvedCpu } from './resolve.js';

/** A model that runs, with what ranks it. */
export interface Ranked {
  readonly name: string;
  readonly resolved: ResolvedCpu;
}

/** Models that every one of `hosts` runs unfiltered, best first (`byRank`). */
export function runnableModels(
  names: Iterable<string>,
  resolveOne: (model: string) => ResolvedCpu,
  hosts: readonly HostCapabilities[],
): Ranked[] {
  return [...names]
    .map((name) => ({ name, resolved: resolveOne(name) }))
    .filter(({ resolved: { cpu, expansion } }) => hosts.every((host) => isOffered(cpu, expansion.withoutNeeds, host)))
    .sort(byRank(new Set(hosts.map(({ facts }) => facts.cpuVendor))));
}

/** Models that are no real CPU's: a guest gets the least from them. */
const GENERIC = /^(base|qemu(32|64)|kvm(32|64)|486)(-v\d+)?$/;

/**
 * Best first: models of the hosts' own vendor (where they have one in common), then of others, then those that are no real CPU's;
 * within these the most features, then the higher version, then by name.
 */
const byRank =
  (vendors: ReadonlySet<string>) =>
  (a: Ranked, b: Ranked): number =>
    kindOf(a, vendors) - kindOf(b, vendors) ||
    featureCount(b) - featureCount(a) ||
    versionOf(b.name) - versionOf(a.name) ||
    (a.name < b.name ? -1 : 1);

const kindOf = ({ name, resolved }: Ranked, vendors: ReadonlySet<string>): number => {
  if (GENERIC.test(name)) return 2;
  return vendors.size === 1 && vendors.has(resolved.cpu.vendor) ? 0 : 1;
};

const featureCount = ({ resolved: { cpu } }: Ranked): number =>
  [...featureDictionary().names()].filter((name) => cpu.on(name)).length;

const versionOf = (name: string): number => Number(/-v(\d+)$/.exec(name)?.[1] ?? 0);

/** Throws `MachineError` `no-model-runs`. */
export function bestModel(
  names: Iterable<string>,
  resolveOne: (model: string) => ResolvedCpu,
  host: HostCapabilities,
): ResolvedCpu {
  const [best] = runnableModels(names, resolveOne, [host]);
  if (!best) throw new MachineError('no-model-runs', `no named model runs unfiltered on ${host.facts.cpuModel}`);
  return best.resolved;
}
