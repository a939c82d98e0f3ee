/** What the guest of a cell must see: the frozen contract of its pair where there is one, else what the pair resolves to. */
import { contractOf } from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import { featureName } from '../../corpora/features.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import type { Reason } from '../../corpora/verdict.js';
import { alterations, DEFINITIONS } from '../../reference-vmm/cpu-model/differences.js';
import type { Expectation } from './judge.js';
import { unpinned } from './pins.js';

/** An expectation with where it comes from. */
export interface CellExpectation {
  readonly vcpus: Expectation;
  /** Real software that gave the table, or `resolved-only`. */
  readonly evidence: string;
  /** How the definitions of today resolve otherwise than the contract: an edit broke it. */
  readonly broken: readonly Reason[];
}

export function expectationOf(identity: CpuIdentity, smp: string, definitions?: Definitions): CellExpectation {
  const contract = contractOf(identity.pair, smp, definitions);
  if (!contract) return { vcpus: identity.vcpus, evidence: 'resolved-only', broken: unpinned(identity) };
  return { ...contract, broken: brokenDefinitions(contract.vcpus, identity) };
}

/** Every bit in which the definitions of today resolve otherwise than the contract. */
export const brokenDefinitions = (contract: Expectation, identity: CpuIdentity): Reason[] =>
  contract.flatMap(({ index, cpuid }) =>
    alterations(
      cpuid,
      identity.vcpus[index]!.cpuid,
      { step: 'resolve', vcpu: index, nameOf: featureName },
      DEFINITIONS,
    ),
  );

const XSAVE = 1 << 26;

/** True where the guest has XSETBV and XGETBV to try. */
export const hasXsave = (vcpus: Expectation): boolean => (vcpus[0]!.cpuid.value(1, null, 'ecx') & XSAVE) !== 0;

const APIC = 1 << 9;

/** True where the guest has a local APIC, through which it can send itself INIT. */
export const hasApic = (vcpus: Expectation): boolean => (vcpus[0]!.cpuid.value(1, null, 'edx') & APIC) !== 0;
