/** Evidence for contracts: what a QEMU shows the guest of each pair, held against what the pair resolves to. */
import type { ContractShape } from '../../../corpora/contracts.js';
import type { Definitions } from '../../../corpora/definitions.js';
import { featureName } from '../../../corpora/features.js';
import { parseSmp } from '../../../corpora/smp.js';
import { type Reason, reason } from '../../../corpora/verdict.js';
import { loadVolatility } from '../../../corpora/volatility/volatility.js';
import { resolve } from '../../../reference-vmm/cpu-model/resolve.js';
import { compareVcpu } from '../../compare.js';
import type { QemuLauncher } from '../../packages/qemu-trees.js';
import { emulatorOf } from './emulator.js';
import type { BootEnd } from './one-boot.js';
import { type QemuPair, qemuTables } from './tables.js';

/** One pair in one shape. */
export interface PairEvidence extends QemuPair {
  readonly shape: ContractShape;
  /** Empty where every vCPU of the guest saw exactly what the contract says, TCG's own answers aside. */
  readonly differences: readonly Reason[];
}

/** As it stands in contracts. */
export const evidenceName = ({ version }: QemuLauncher): string =>
  `qemu ${version.split('.').slice(0, 2).join('.')}, guest under TCG`;

export interface EvidenceOptions {
  readonly definitions: Definitions;
  readonly shapes: readonly ContractShape[];
  /** Boots at a time. */
  readonly workers: number;
  readonly signal?: AbortSignal;
}

/** Boots each pair in each shape; results come as boots end. Throws `InputError` for a pair that does not resolve. */
export async function* pairEvidence(
  launcher: QemuLauncher,
  pairs: readonly QemuPair[],
  { definitions, shapes, workers, signal }: EvidenceOptions,
): AsyncGenerator<PairEvidence> {
  for (const shape of shapes) {
    const smp = parseSmp(shape);
    for await (const { machine, cpu, end } of qemuTables(launcher, pairs, {
      smp,
      workers,
      ...(signal && { signal }),
    })) {
      const { vcpus } = resolve({
        ...{ machine, cpu: `${cpu},x-force-features=on`, smp, definitions, accelerator: 'tcg' },
        emulator: emulatorOf(launcher.version),
      });
      yield { machine, cpu, shape, differences: differencesOf(end, vcpus) };
    }
  }
}

const VOLATILITY = loadVolatility();

/** Of every vCPU that the pair has. */
export function differencesOf(end: BootEnd, vcpus: ReturnType<typeof resolve>['vcpus']): Reason[] {
  if (end.kind !== 'observed')
    return [reason({ code: end.code, step: 'boot', layer: 'monitor', message: end.message })];
  const context = { volatility: VOLATILITY, nameOf: featureName, step: 'boot', answerer: 'tcg' } as const;
  const seen = new Map(end.vcpus.map((vcpu) => [vcpu.index, vcpu]));
  return vcpus.flatMap((vcpu) => {
    const dump = seen.get(vcpu.index);
    const expected = { ...vcpu, msrs: [], otherMsrs: 'not-compared', rowsBeyondMaximum: 'different' } as const;
    if (dump) return compareVcpu(expected, dump, context);
    const message = `vCPU ${vcpu.index} sent no record`;
    return [reason({ code: 'vcpu-not-observed', step: 'boot', vcpu: vcpu.index, message })];
  });
}
