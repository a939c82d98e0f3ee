/** `host runnable`: which models of a machine type a host runs unfiltered, and what it lacks for the others. */
import type { Definitions } from '../../../corpora/definitions.js';
import type { HostCapabilities } from '../../../corpora/host-capabilities.js';
import { lacksOf } from '../../../reference-vmm/cpu-model/enforce.js';
import { listModels, resolveCpu } from '../../../reference-vmm/cpu-model/resolve.js';
import { startBlockers } from './blockers.js';

export interface RunnableModel {
  readonly name: string;
  /** The versioned name that it stands for here. */
  readonly version: string;
  readonly runs: boolean;
  /** QEMU's `unavailable-features`. */
  readonly unavailableFeatures: readonly string[];
  /** Features that the kernel would add to it. */
  readonly addedFeatures: readonly string[];
}

/** All models of the machine type, by name. Throws `InputError` for an unknown machine type. */
export const runnable = (host: HostCapabilities, machine: string, definitions: Definitions): RunnableModel[] =>
  listModels(machine, definitions).map(({ name, version }) => {
    const resolved = resolveCpu({ machine, cpu: name, definitions });
    const blockers = startBlockers(resolved, host);
    const added = blockers.filter(({ code }) => code === 'cpuid-altered');
    return {
      ...{ name, version, runs: blockers.length === 0 },
      unavailableFeatures: lacksOf(resolved.cpu, resolved.expansion.withoutNeeds, host).unavailable,
      addedFeatures: [...new Set(added.flatMap(({ feature }) => feature ?? []))],
    };
  });
