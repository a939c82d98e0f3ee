/** What the guest of a cell must see: the frozen contract of its pair where there is one, else what the pair resolves to. */
import { contractOf } from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import { featureName } from '../../corpora/features.js';
import { hex32, hex64 } from '../../corpora/hex.js';
import type { CpuIdentity, MsrValue } from '../../corpora/identity.js';
import { msrContractOf, msrEffectsOf } from '../../corpora/msr-contracts.js';
import { msrLabel } from '../../corpora/msrs.js';
import { type Reason, reason } from '../../corpora/verdict.js';
import { alterations, DEFINITIONS } from '../../reference-vmm/cpu-model/differences.js';
import { msrEffects } from '../../reference-vmm/cpu-model/msr-effects.js';
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
  const broken = [...brokenDefinitions(contract.vcpus, identity), ...brokenMsrs(identity, definitions)];
  return { ...contract, broken };
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

/**
 * Every MSR that the definitions of today give otherwise than the contract: another value or effect of writes, or to a CPU that has none, or
 * none.
 */
export function brokenMsrs(identity: CpuIdentity, definitions?: Definitions): Reason[] {
  const values = msrContractOf(identity.pair, definitions);
  const effects = msrEffectsOf(identity.pair, definitions);
  return [
    ...(values ? msrsOtherwise(values, identity.msrs, ({ value }) => value, ['#GP', '']) : []),
    ...(effects ? msrsOtherwise(effects, msrEffects(identity), ({ effect }) => effect, ['faults', 'a write ']) : []),
  ];
}

type Content = bigint | string;

const contentText = (content: Content): string => (typeof content === 'bigint' ? hex64(content) : content);

/** Most pairs are as they were frozen: no maps and no texts are made before one differs. Both lists are by index. */
function msrsOtherwise<T extends Pick<MsrValue, 'index'>>(
  contract: readonly T[],
  now: readonly T[],
  contentOf: (one: T) => Content,
  [absent, what]: readonly [string, string],
): Reason[] {
  const isSame = (one: T, i: number): boolean => one.index === now[i]!.index && contentOf(one) === contentOf(now[i]!);
  if (contract.length === now.length && contract.every(isSame)) return [];
  const [frozen, today] = [contract, now].map((list) => new Map(list.map((one) => [one.index, contentOf(one)])));
  const indices = [...new Set([...frozen!.keys(), ...today!.keys()])];
  return indices
    .filter((index) => frozen!.get(index) !== today!.get(index))
    .map((index) => {
      const [was, is] = [contentText(frozen!.get(index) ?? absent), contentText(today!.get(index) ?? absent)];
      const message = `${msrLabel(index)}: ${what}contract ${was}, definition shows ${is}`;
      const facts = { step: 'resolve', vcpu: 0, msr: hex32(index), layer: 'monitor' as const };
      return reason({ ...facts, code: 'definition-msr-changed', contract: was, guest: is, message });
    });
}

const XSAVE = 1 << 26;

/** True where the guest has XSETBV and XGETBV to try. */
export const hasXsave = (vcpus: Expectation): boolean => (vcpus[0]!.cpuid.value(1, null, 'ecx') & XSAVE) !== 0;

const APIC = 1 << 9;

/** True where the guest has a local APIC, through which it can send itself INIT. */
export const hasApic = (vcpus: Expectation): boolean => (vcpus[0]!.cpuid.value(1, null, 'edx') & APIC) !== 0;
