/** Contracts against a QEMU binary: does each released pair that it has still show its guests what was frozen? */
import { CONTRACT_SHAPES, contractOf } from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import type { Verdict } from '../../corpora/verdict.js';
import { listModels, resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { askOverview } from '../import/qemu-expansion.js';
import type { QemuLauncher } from '../packages/qemu-trees.js';
import { brokenDefinitions } from '../run/expectation.js';
import { subjectName } from '../subjects/qemu/comparison.js';
import { type PairEvidence, pairEvidence } from '../subjects/qemu/evidence.js';
import type { QemuPair } from '../subjects/qemu/tables.js';
import { findingsOf, type GatedPair, heldModels, isBroken, namesOf, type QemuGateOptions } from './gate-qemu.js';
import { type GateResult, RELEASED_PAIRS } from './result.js';

/**
 * Boots each pair that has a contract, in each shape of contracts, under TCG with features that it lacks forced. The guest is held to what the pair
 * resolves to with TCG's own answers, and what it resolves to under KVM to the contract.
 */
export async function gateContracts(
  head: QemuLauncher,
  definitions: Definitions,
  { wanted, workers = 2, onProgress }: QemuGateOptions,
): Promise<GateResult> {
  const has = await askOverview(head);
  const [machines, models] = [new Set(has.machines), new Set(has.models)];
  const frozen = definitions.machineIndex.machines.flatMap((machine) =>
    listModels(machine, definitions)
      .map(({ name: cpu }) => ({ machine, cpu }))
      .filter(({ cpu }) => wanted({ machine, model: cpu }))
      .filter(({ cpu }) => contractOf(`${machine}/${cpu}`, '1', definitions) !== undefined),
  );
  const isThere = ({ machine, cpu }: QemuPair): boolean => machines.has(machine) && models.has(cpu);
  const pairs = frozen.filter(isThere);
  const seen = new Map<string, GatedPair>();
  let guests = 0;
  for await (const one of pairEvidence(head, pairs, { definitions, workers, shapes: CONTRACT_SHAPES })) {
    const { pair, verdict, reasons } = judged(one, definitions);
    const before = seen.get(pair);
    const whole = before && isBroken(before) ? before.verdict : verdict;
    seen.set(pair, { pair, verdict: whole, reasons: [...(before?.reasons ?? []), ...reasons] });
    onProgress?.(++guests, pairs.length * CONTRACT_SHAPES.length);
  }
  const all = [...seen.values()];
  const broken = all.filter(isBroken).length;
  return {
    ...{ base: 'contracts', head: `${subjectName(head)} (${head.version})`, subject: RELEASED_PAIRS },
    ...{ findings: findingsOf(all, `QEMU ${head.version}`), held: heldModels(all), added: [] },
    removed: namesOf(
      frozen.filter((pair) => !isThere(pair)),
      has.machines,
    ),
    totals: { unchanged: all.length - broken, broken, added: 0 },
    notes: [`each pair in SMP shapes ${CONTRACT_SHAPES.join(' and ')}, under TCG`],
  };
}

function judged({ machine, cpu, shape, differences }: PairEvidence, definitions: Definitions): GatedPair {
  const pair = `${machine}/${cpu}`;
  const contract = contractOf(pair, shape, definitions);
  const edited = contract ? brokenDefinitions(contract.vcpus, resolve({ machine, cpu, smp: shape, definitions })) : [];
  const reasons = [...edited, ...differences];
  const [first] = reasons;
  const verdict: Verdict = !first ? 'identical' : first.leaf === null ? 'refused' : 'changed';
  return { pair, verdict, reasons };
}
