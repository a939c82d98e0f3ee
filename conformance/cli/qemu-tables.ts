/** What `import qemu --tables` and `freeze --from` share: boot every pair of some machine types under a QEMU, several at a time, and tell how it went. */
import { CONTRACT_SHAPES } from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import { unknownName } from '../../corpora/errors.js';
import { listModels } from '../../reference-vmm/cpu-model/resolve.js';
import type { Confirmation } from '../contracts/evidence.js';
import { askOverview } from '../import/qemu-expansion.js';
import type { QemuLauncher } from '../packages/qemu-trees.js';
import { evidenceName, type PairEvidence, pairEvidence } from '../subjects/qemu/evidence.js';
import type { QemuPair } from '../subjects/qemu/tables.js';
import { anyGlob, globMatcher } from './options.js';
import { progressLine } from './progress.js';

/** All that one QEMU showed. */
export interface SeenTables extends Confirmation {
  readonly machines: readonly string[];
  readonly agreed: readonly PairEvidence[];
  readonly different: readonly PairEvidence[];
  readonly seconds: number;
}

/** `globs`: over the machine types of this QEMU, and their models. Throws `InputError` where one matches none, or where the definitions do not have one. */
export async function seeTables(
  launcher: QemuLauncher,
  globs: { readonly machines: readonly string[]; readonly models: readonly string[] },
  definitions: Definitions,
  workers: number,
): Promise<SeenTables> {
  const has = await askOverview(launcher);
  const named = globs.machines.flatMap((glob) => {
    const found = has.machines.filter(globMatcher(glob));
    if (found.length === 0) throw unknownName('machine type', glob, has.machines);
    return found;
  });
  const machines = [...new Set(named)];
  const models = new Set(has.models);
  const pairs = machines.flatMap((machine): QemuPair[] =>
    listModels(machine, definitions)
      .filter(({ name }) => models.has(name) && anyGlob(globs.models)(name))
      .map(({ name }) => ({ machine, cpu: name })),
  );
  return collect(launcher, machines, pairs, { definitions, workers });
}

async function collect(
  launcher: QemuLauncher,
  machines: readonly string[],
  pairs: readonly QemuPair[],
  { definitions, workers }: { readonly definitions: Definitions; readonly workers: number },
): Promise<SeenTables> {
  const started = performance.now();
  const [agreed, different]: [PairEvidence[], PairEvidence[]] = [[], []];
  const line = progressLine();
  const boots = pairs.length * CONTRACT_SHAPES.length;
  try {
    for await (const one of pairEvidence(launcher, pairs, { definitions, workers, shapes: CONTRACT_SHAPES })) {
      (one.differences.length === 0 ? agreed : different).push(one);
      line.update(`${agreed.length + different.length}/${boots} ${one.machine}/${one.cpu} smp ${one.shape}`);
    }
  } finally {
    line.end();
  }
  const name = evidenceName(launcher);
  const seen = new Set(agreed.map(({ machine, cpu, shape }) => `${machine}/${cpu} ${shape}`));
  return {
    ...{ name, machines, agreed, different },
    seconds: (performance.now() - started) / 1000,
    confirms: (machine, model, shape) => seen.has(`${machine}/${model} ${shape}`),
  };
}

/** `pc-i440fx-5.2/n270 smp 1: CPUID 80000008.EAX[2]: ...`, one line a pair and shape. */
export const differenceLines = ({ different }: SeenTables): string[] =>
  different.map(
    ({ machine, cpu, shape, differences: [first, ...more] }) =>
      `${machine}/${cpu} smp ${shape}: ${first!.message}${more.length ? ` (and ${more.length} more)` : ''}`,
  );

/** `302 pairs and shapes seen in 12.0 s (25.1 a second): 300 as they resolve`. */
export function seenText({ agreed, different, seconds, name }: SeenTables): string {
  const all = agreed.length + different.length;
  return `${name}: ${all} guests in ${seconds.toFixed(1)} s (${(all / seconds).toFixed(1)} a second), ${agreed.length} saw what their pair resolves to`;
}
