/** What the parts of the oracle share: what is expected, how differences are told. */
import type { CpuidTable } from '../../corpora/cpuid.js';
import type { ObservedMsr } from '../../corpora/observation.js';
import type { Reason, ReasonFacts } from '../../corpora/verdict.js';
import type { Volatility } from '../../corpora/volatility/volatility.js';
import type { FeatureNamer } from '../../reference-vmm/cpu-model/differences.js';
import type { CpuidAnswerer } from './expected-cpuid.js';

export interface CompareContext {
  readonly volatility: Volatility;
  readonly nameOf: FeatureNamer;
  /** What reasons carry as their step. */
  readonly step: string;
  readonly answerer: CpuidAnswerer;
}

/** What one vCPU must show. */
export interface ExpectedVcpu {
  readonly index: number;
  readonly apicId: number;
  readonly cpuid: CpuidTable;
  /** A value, or the fault class that RDMSR must raise. */
  readonly msrs: readonly ObservedMsr[];
  /** An MSR that was read and is not in `msrs`: must fault with #GP (denied), or is not compared. */
  readonly otherMsrs: 'denied' | 'not-compared';
  /**
   * Rows beyond the maximum of their range or of their leaf's subleaves. A contract has none, so one is a difference. A table that a
   * kernel read back may have (it lowered the maximum and kept the rows): a guest that heeds the maxima does not ask for them.
   */
  readonly rowsBeyondMaximum: 'different' | 'not-compared';
}

/** Makes a reason with the step and the vCPU filled in. */
export type Say = (facts: DifferenceFacts) => Reason;

/** A reason without what the comparison fills in. */
export type DifferenceFacts = Omit<ReasonFacts, 'step'>;
