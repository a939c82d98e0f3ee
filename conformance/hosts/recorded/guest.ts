/** A guest that a capture answers for: realized on the recorded KVM, its dumps simulated from the table that it would be shown. */
import type { CpuidTable } from '../../../corpora/cpuid.js';
import { featureName } from '../../../corpora/features.js';
import { parseHex32 } from '../../../corpora/hex.js';
import type { HostCapabilities } from '../../../corpora/host-capabilities.js';
import {
  type CpuIdentity,
  identityFromJson,
  type MsrValue,
  type MsrValueJson,
  msrFromJson,
  msrToJson,
} from '../../../corpora/identity.js';
import { type ObservedMsr, type VcpuObservation, vcpuObservationToJson } from '../../../corpora/observation.js';
import type { Reason } from '../../../corpora/verdict.js';
import { loadVolatility } from '../../../corpora/volatility/volatility.js';
import { effectsOf } from '../../../reference-vmm/cpu-model/msr-values.js';
import { isOpen, resetMsrs, travellingMsrs } from '../../../reference-vmm/cpu-model/msrs.js';
import type { Kvm, Vcpu } from '../../../reference-vmm/kvm/kvm.js';
import { msrLimitReasons } from '../../../reference-vmm/msr-limits.js';
import { realize } from '../../../reference-vmm/realize.js';
import { readableMsrs, setMsrs, strangeMsrs } from '../../../reference-vmm/snapshot/vcpu-state.js';
import { vcpuLimitReasons } from '../../../reference-vmm/vcpu-limits.js';
import { RESET_STATE, simulateVcpu } from '../../oracle/simulate.js';
import type { Outcome, Params } from '../agent/protocol.js';

const VOLATILITY = loadVolatility();

/** What moves with the guest. */
export interface RecordedState {
  readonly pair: string;
  /** Dumps since its boot. */
  readonly sequence: number;
  readonly vcpus: readonly RecordedVcpu[];
}

export interface RecordedVcpu {
  readonly xcr0: string | null;
  /** MSRs that travel: of an open pair those that the source's kernel lists, of another those of its identity, as written or as at reset. */
  readonly msrs: readonly MsrValueJson[];
}

/** What a vCPU itself has set since its reset. */
interface OwnState {
  xcr0: bigint | null;
  readonly written: Map<number, bigint>;
}

interface Created {
  readonly vcpus: readonly Vcpu[];
  readonly altered: readonly Reason[];
  readonly forced: readonly string[];
  readonly shows: Shows | null;
}

/** What a kernel with a fault makes of the table that a guest is shown. */
type Shows = (table: CpuidTable) => CpuidTable;

const CR4_OSXSAVE = 1 << 18;
/** The probe sets it where the CPU has machine checks. */
const CR4_MCE = 1 << 6;
const MCE = 1 << 7;
const XSAVES = 1 << 3;
const APIC_BASE_OF_OTHERS = 0xfee00800n;

export class RecordedGuest {
  readonly identity: CpuIdentity;
  readonly #request: Params<'boot'>;
  readonly #created: Created;
  #own: readonly OwnState[] = [];
  #sequence = 0;

  private constructor(request: Params<'boot'>, identity: CpuIdentity, created: Created) {
    this.#request = request;
    this.identity = identity;
    this.#created = created;
    this.reset();
  }

  /** Realizes every vCPU; the reasons where the captured host would refuse one. */
  static create(
    kvm: Kvm,
    host: HostCapabilities,
    request: Params<'boot'>,
    step: string,
    shows: Shows | null = null,
  ): RecordedGuest | readonly Reason[] {
    const identity = identityFromJson(request.identity);
    const tooMany = vcpuLimitReasons(identity, host, step);
    if (tooMany.length > 0) return tooMany;
    using vm = kvm.createVm();
    const vcpus = identity.vcpus.map(({ apicId }) => vm.createVcpu(apicId));
    // A capture lists some MSRs and says nothing of the others (memory types, machine checks): none of the identity's is set.
    const made = identity.vcpus.map((vcpu, i) =>
      realize(vcpus[i]!, vcpu, [], {
        ...{ host, features: identity.features, nameOf: featureName, step },
        ...{ allowAltered: request.allowAltered, forceFeatures: request.forceFeatures },
      }),
    );
    const limits = msrLimitReasons(host, step);
    const reasons = [...limits, ...made.flatMap((one) => one.reasons)];
    if (reasons.length > 0) return reasons;
    const altered = made.flatMap((one) => one.altered);
    const forced = [...new Set(made.flatMap((one) => one.forced))];
    return new RecordedGuest(request, identity, { vcpus, altered, forced, shows });
  }

  /** As after a reset: only what the guest itself keeps in memory would stay. */
  reset(): void {
    this.#own = this.identity.vcpus.map(() => ({ xcr0: null, written: new Map() }));
    this.#sequence = 0;
  }

  /** OSXSAVE, and all components that leaf 0xD shows. */
  setXcr0(): void {
    for (const [i, own] of this.#own.entries()) {
      const { eax, edx } = this.#tableOf(i).get(0xd, 0) ?? { eax: 0, edx: 0 };
      if (eax !== 0) own.xcr0 = (BigInt(edx) << 32n) | BigInt(eax);
    }
  }

  /** On one vCPU, or on all. */
  writeMsr(msr: MsrValue, vcpu?: number): void {
    for (const { written } of vcpu === undefined ? this.#own : this.#own.slice(vcpu, vcpu + 1))
      for (const { index, value } of effectsOf(msr)) written.set(index, value);
  }

  dump(): Outcome {
    const sequence = this.#sequence++;
    return {
      kind: 'running',
      vcpus: structuredClone(
        this.identity.vcpus.map(({ index }) => vcpuObservationToJson(this.#observe(index, sequence))),
      ) as never,
      altered: [...this.#created.altered],
      forced: [...this.#created.forced],
      readBack: this.#created.vcpus.map((vcpu) => vcpu.getCpuid2().toJSON()) as never,
    };
  }

  #tableOf(vcpu: number): CpuidTable {
    return this.#created.vcpus[vcpu]!.getCpuid2();
  }

  #observe(index: number, sequence: number): VcpuObservation {
    const table = this.#tableOf(index);
    const { xcr0 } = this.#own[index]!;
    const xsaves = ((table.get(0xd, 1)?.eax ?? 0) & XSAVES) !== 0;
    const state = {
      ...{ ...RESET_STATE, index, sequence, xcr0, msrs: this.#msrsOf(index) },
      cr4: (table.value(1, null, 'edx') & MCE ? CR4_MCE : 0) | (xcr0 === null ? 0 : CR4_OSXSAVE),
      xss: xsaves ? 0n : ('#GP' as const),
      ...(index === 0 ? {} : { apicBase: APIC_BASE_OF_OTHERS }),
    };
    return simulateVcpu(table, state, VOLATILITY, 'kvm', this.#created.shows ?? undefined);
  }

  /** Those of the identity as they are at reset, or as written; the monitor denies all others. */
  #msrsOf(vcpu: number): ObservedMsr[] {
    const own = new Map(resetMsrs(this.identity, { vcpu }).map(({ index, value }) => [index, value]));
    return this.#request.msrs.map(parseHex32).map((index) => {
      const value = this.#own[vcpu]!.written.get(index) ?? own.get(index);
      return value === undefined ? { index, fault: '#GP' } : { index, value };
    });
  }

  save(listed: readonly number[]): RecordedState {
    const open = isOpen(this.identity);
    return {
      pair: this.identity.pair,
      sequence: this.#sequence,
      vcpus: this.#own.map(({ xcr0 }, vcpu) => ({
        xcr0: xcr0 === null ? null : String(xcr0),
        msrs: (open ? readableMsrs(this.#created.vcpus[vcpu]!, listed) : this.#travelling(vcpu)).map(msrToJson),
      })),
    };
  }

  #travelling(vcpu: number): MsrValue[] {
    const { written } = this.#own[vcpu]!;
    const reset = new Map(resetMsrs(this.identity, { vcpu }).map(({ index, value }) => [index, value]));
    const travels = new Set([...travellingMsrs(this.identity, []), ...written.keys()]);
    return [...travels].map((index) => ({ index, value: written.get(index) ?? reset.get(index) ?? 0n }));
  }

  /** Gives a reason for each MSR that this kernel does not know, and for each that is not of this CPU, or lacks. */
  load({ sequence, vcpus }: RecordedState, step: string): Reason[] {
    this.#sequence = sequence;
    return vcpus.flatMap((state, i) => this.#loadVcpu(i, state, step));
  }

  #loadVcpu(vcpu: number, { xcr0, msrs }: RecordedVcpu, step: string): Reason[] {
    const state = this.#own[vcpu]!;
    state.xcr0 = xcr0 === null ? null : BigInt(xcr0);
    const carried = msrs.map(msrFromJson);
    if (isOpen(this.identity))
      return setMsrs(this.#created.vcpus[vcpu]!, carried, vcpu, step)
        .filter(({ reason: { code } }) => code === 'msr-not-settable')
        .map(({ reason }) => reason);
    const own = new Map(resetMsrs(this.identity, { vcpu }).map(({ index, value }) => [index, value]));
    for (const { index, value } of carried)
      if (own.has(index) && own.get(index) !== value) state.written.set(index, value);
    // What only the monitor holds travels where it was written.
    const travelling = travellingMsrs(this.identity, []);
    const known = carried.filter(({ index }) => travelling.includes(index) || !own.has(index));
    return strangeMsrs({ index: vcpu, msrs: known }, travelling, step);
  }
}
