/** A guest that a capture answers for: realized on the recorded KVM, its dumps simulated from the table that it would be shown. */
import type { CpuidTable } from '../../../corpora/cpuid.js';
import { featureName } from '../../../corpora/features.js';
import { hex32, hex64, parseHex32, parseHex64 } from '../../../corpora/hex.js';
import type { HostCapabilities } from '../../../corpora/host-capabilities.js';
import { type CpuIdentity, identityFromJson, type MsrValue } from '../../../corpora/identity.js';
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
  readonly xcr0: string | null;
  /** Dumps since its boot. */
  readonly sequence: number;
  /** MSRs that travel: of an open pair those that the source's kernel lists, of another those of its identity, as written or as at reset. */
  readonly msrs: readonly { readonly index: string; readonly value: string }[];
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
  readonly #written = new Map<number, bigint>();
  #xcr0: bigint | null = null;
  #sequence = 0;

  private constructor(request: Params<'boot'>, identity: CpuIdentity, created: Created) {
    this.#request = request;
    this.identity = identity;
    this.#created = created;
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
    this.#xcr0 = null;
    this.#sequence = 0;
    this.#written.clear();
  }

  /** OSXSAVE, and all components that leaf 0xD shows. */
  setXcr0(): void {
    const { eax, edx } = this.#tableOf(0).get(0xd, 0) ?? { eax: 0, edx: 0 };
    if (eax !== 0) this.#xcr0 = (BigInt(edx) << 32n) | BigInt(eax);
  }

  writeMsr(index: number, value: bigint): void {
    for (const effect of effectsOf({ index, value })) this.#written.set(effect.index, effect.value);
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
    const xsaves = ((table.get(0xd, 1)?.eax ?? 0) & XSAVES) !== 0;
    const state = {
      ...{ ...RESET_STATE, index, sequence, xcr0: this.#xcr0, msrs: this.#msrsOf(index) },
      cr4: (table.value(1, null, 'edx') & MCE ? CR4_MCE : 0) | (this.#xcr0 === null ? 0 : CR4_OSXSAVE),
      xss: xsaves ? 0n : ('#GP' as const),
      ...(index === 0 ? {} : { apicBase: APIC_BASE_OF_OTHERS }),
    };
    return simulateVcpu(table, state, VOLATILITY, 'kvm', this.#created.shows ?? undefined);
  }

  /** Those of the identity as they are at reset, or as written; the monitor denies all others. */
  #msrsOf(vcpu: number): ObservedMsr[] {
    const own = new Map(resetMsrs(this.identity, { vcpu }).map(({ index, value }) => [index, value]));
    return this.#request.msrs.map(parseHex32).map((index) => {
      const value = this.#written.get(index) ?? own.get(index);
      return value === undefined ? { index, fault: '#GP' } : { index, value };
    });
  }

  save(listed: readonly number[]): RecordedState {
    const msrs = isOpen(this.identity) ? readableMsrs(this.#created.vcpus[0]!, listed) : this.#travelling();
    return {
      pair: this.identity.pair,
      xcr0: this.#xcr0 === null ? null : String(this.#xcr0),
      sequence: this.#sequence,
      msrs: msrs.map(({ index, value }) => ({ index: hex32(index), value: hex64(value) })),
    };
  }

  #travelling(): MsrValue[] {
    const reset = new Map(resetMsrs(this.identity).map(({ index, value }) => [index, value]));
    const travels = new Set([...travellingMsrs(this.identity, []), ...this.#written.keys()]);
    return [...travels].map((index) => ({ index, value: this.#written.get(index) ?? reset.get(index) ?? 0n }));
  }

  /** Gives a reason for each MSR that this kernel does not know, and for each that is not of this CPU, or lacks. */
  load(state: RecordedState, step: string): Reason[] {
    this.#xcr0 = state.xcr0 === null ? null : BigInt(state.xcr0);
    this.#sequence = state.sequence;
    const carried: MsrValue[] = state.msrs.map(({ index, value }) => ({
      index: parseHex32(index),
      value: parseHex64(value),
    }));
    if (isOpen(this.identity))
      return setMsrs(this.#created.vcpus[0]!, carried, 0, step)
        .filter(({ reason: { code } }) => code === 'msr-not-settable')
        .map(({ reason }) => reason);
    const own = new Map(resetMsrs(this.identity).map(({ index, value }) => [index, value]));
    for (const { index, value } of carried)
      if (own.has(index) && own.get(index) !== value) this.#written.set(index, value);
    // What only the monitor holds travels where it was written.
    const travelling = travellingMsrs(this.identity, []);
    const msrs = carried.filter(({ index }) => travelling.includes(index) || !own.has(index));
    return strangeMsrs({ index: 0, msrs }, travelling, step);
  }
}
