/** An observation: what a probe guest saw of its CPU. */
import type { CpuidRow } from './cpuid.js';

export type FaultClass = '#GP' | '#UD';

/** An MSR as the guest read it: a value, or the fault that RDMSR raised. */
export type ObservedMsr =
  | { readonly index: number; readonly value: bigint }
  | { readonly index: number; readonly fault: FaultClass };

/** One dump of one vCPU. Register values are unsigned. */
export interface VcpuObservation {
  readonly index: number;
  readonly apicId: number;
  /** Which dump of this boot, from 0. */
  readonly sequence: number;
  readonly cr0: number;
  readonly cr4: number;
  readonly efer: bigint;
  readonly apicBase: bigint;
  /** null until the probe was told to set OSXSAVE, and where the CPU has no XSAVE. */
  readonly xcr0: bigint | null;
  /** Every (leaf, subleaf) asked, in the order asked; two beyond each maximum and the absent leaf included. */
  readonly cpuid: readonly CpuidRow[];
  readonly msrs: readonly ObservedMsr[];
}

export interface Observation {
  readonly vcpus: readonly VcpuObservation[];
}
