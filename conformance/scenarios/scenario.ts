/** What a scenario is: a guest's life as a sequence of steps, each ending in an outcome to be judged. */
import type { MsrValue } from '../../corpora/identity.js';
import type { Scenario } from '../../corpora/verdict.js';
import type { Outcome, Params } from '../hosts/agent/protocol.js';
import type { Host } from '../hosts/host.js';

/** One step of a guest's life and what came of it. */
export interface Step {
  /** `boot`, `reset-port`, `restore`, `destination`, ... */
  readonly name: string;
  readonly outcome: Outcome;
  /** The earlier step whose dump this one must repeat; absent where the guest changed its own state, or it is the first. */
  readonly like?: { readonly step: string; readonly sameBoot: boolean };
  /** The step whose dump this one comes next to, where the guest changed its own state in between. */
  readonly after?: string;
  /** What the guest has written to its MSRs since its last reset, the newest last; absent: nothing. */
  readonly wrote?: readonly MsrWrite[];
}

/** `vcpu`: the one that wrote; absent: every one did. */
export interface MsrWrite extends MsrValue {
  readonly vcpu?: number;
}

/** Where and with what a scenario plays. */
export interface Stage {
  /** The path of hosts, in order. */
  readonly hosts: readonly Host[];
  readonly request: Params<'boot'>;
  /** False where XGETBV ends the vCPU (notes on kvm_pvm in docs). */
  readonly xgetbv: boolean;
  /** True where the guest has a local APIC. */
  readonly apic: boolean;
  /** A folder of this cell's own, on hosts that share files with the runner. */
  readonly folder: string;
}

/** Yields the steps in order; the caller stops asking after the first that does not run. */
export type Play = (stage: Stage) => AsyncGenerator<Step>;

/** Folder names and file names of scenarios are their names in results. */
export type Plays = Readonly<Record<Scenario, Play>>;
