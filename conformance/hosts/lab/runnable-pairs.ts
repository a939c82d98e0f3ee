/** Which released pairs run on each lab CPU with nothing forced, by the newest capture of it: what a host of the lab can verify exactly. */
import type { Definitions } from '../../../corpora/definitions.js';
import { listMachines, listModels, resolveCpu } from '../../../reference-vmm/cpu-model/resolve.js';
import { startBlockers } from '../questions/blockers.js';
import { committedCaptures, openCapture } from '../recorded/open-capture.js';
import { labCpus } from './lab-cpus.js';

/** The pairs of one lab CPU. */
export interface RunnablePairs {
  readonly cpu: string;
  /** The capture that says so; null where the CPU has none, and then no pair. */
  readonly capture: string | null;
  /** As in `pc-i440fx-2.3/Nehalem`. */
  readonly pairs: readonly string[];
}

export interface RunnableAnswer {
  /** All released pairs. */
  readonly of: number;
  readonly cpus: readonly RunnablePairs[];
  /** The lab CPU with most pairs. */
  readonly richest: string;
}

export async function runnablePairs(definitions: Definitions): Promise<RunnableAnswer> {
  const captures = await Promise.all(
    labCpus().map(async ({ name }) => {
      const capture = committedCaptures().findLast((one) => one.startsWith(`${name}/`)) ?? null;
      return { cpu: name, capture, host: capture ? (await openCapture(capture)).host : null, pairs: [] as string[] };
    }),
  );
  let of = 0;
  for (const { name: machine } of listMachines(definitions).filter(({ name }) => !definitions.machine(name).follows))
    for (const { name: model } of listModels(machine, definitions)) {
      of++;
      const resolved = resolveCpu({ machine, cpu: model, definitions });
      for (const { host, pairs } of captures)
        if (host && startBlockers(resolved, host).length === 0) pairs.push(`${machine}/${model}`);
    }
  const cpus = captures.map(({ cpu, capture, pairs }) => ({ cpu, capture, pairs }));
  return { of, cpus, richest: cpus.reduce((most, one) => (one.pairs.length > most.pairs.length ? one : most)).cpu };
}
