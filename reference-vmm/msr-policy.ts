/** The MSRs of one vCPU as its guest meets them: what KVM answers, what the monitor answers itself, and that all else faults. */
import type { CpuIdentity, MsrValue } from '../corpora/identity.js';
import { isNamedMsr } from '../corpora/msrs.js';
import { judgeWrite } from './cpu-model/msr-masks.js';
import { isFeatureMsr, isOpen, type Msr, msrsOf } from './cpu-model/msrs.js';
import type { MsrFilter } from './kvm/kvm.js';
import { denyAllBut } from './msr-filter.js';

/** An access that KVM handed to us. `value`: what the guest wrote. */
export interface MsrAccess {
  readonly reason: 'rdmsr' | 'wrmsr';
  readonly index: number;
  readonly value: bigint;
}

/** What judging a write asks of the vCPU, and where the value goes. */
export interface KernelMsrs {
  get(index: number): bigint;
  /** False where the kernel does not take it. */
  set(index: number, value: bigint): boolean;
  readonly paging: () => boolean;
}

const K7_HWCR = 0xc0010015;
const HWCR_MC_STATUS_WRITABLE = 1n << 18n;

const canRead = ({ definition: { access } }: Msr): boolean => access !== 'write';
const canWrite = ({ definition: { access } }: Msr): boolean => access !== 'read';
const IA32_BIOS_SIGN_ID = 0x8b;
/** Those that KVM starts with what the host has, unless told. */
const isHostsUnlessTold = ({ index, definition }: Msr): boolean =>
  isFeatureMsr(definition) || index === IA32_BIOS_SIGN_ID;
const indicesOf = (msrs: readonly Msr[]): number[] => msrs.map(({ index }) => index);

/** What of a policy follows from the identity alone. */
interface MsrRules {
  /** MSRs that the kernel answers. */
  readonly readable: readonly number[];
  readonly writable: readonly number[];
  readonly kernelResets: readonly MsrValue[];
  readonly msrs: ReadonlyMap<number, Msr>;
  /** Null of an open pair. */
  readonly filter: MsrFilter | null;
}

function rulesOf(identity: CpuIdentity, vcpu: number): MsrRules {
  const all = msrsOf(identity, vcpu);
  const kernel = all.filter(({ definition: { held } }) => held !== 'monitor');
  const open = isOpen(identity);
  const given = new Map(identity.msrs.map(({ index, value }) => [index, value]));
  const resetOf = ({ index, reset, definition }: Msr): bigint =>
    (definition.volatility.class === 'per-vcpu' ? undefined : given.get(index)) ?? reset!;
  const readable = indicesOf((open ? all : kernel).filter(canRead));
  const writable = indicesOf(
    (open ? all : kernel.filter(({ definition: { held } }) => held === 'kernel')).filter(canWrite),
  );
  return {
    readable,
    writable,
    filter: open ? null : filterOnce(all, readable, writable),
    msrs: new Map((open ? [] : all).map((msr) => [msr.index, { ...msr, reset: canRead(msr) ? resetOf(msr) : null }])),
    kernelResets: (open
      ? all.filter(isHostsUnlessTold)
      : kernel.filter(({ definition: { travels } }) => travels.how !== 'never')
    ).map((msr) => ({ index: msr.index, value: resetOf(msr) })),
  };
}

/** By the list of a CPU's MSRs, which is one for all pairs that are alike: each boot wants a filter, and it takes 0.4 ms. */
const knownFilters = new WeakMap<readonly Msr[], MsrFilter>();

function filterOnce(all: readonly Msr[], readable: readonly number[], writable: readonly number[]): MsrFilter {
  const filter = knownFilters.get(all) ?? denyAllBut(readable, writable);
  knownFilters.set(all, filter);
  return filter;
}

/** Rules of each vCPU by identity: one guest after the other has the same. */
const knownRules = new WeakMap<CpuIdentity, MsrRules[]>();

function rulesOnce(identity: CpuIdentity, vcpu: number): MsrRules {
  const known = knownRules.get(identity) ?? [];
  knownRules.set(identity, known);
  known[vcpu] ??= rulesOf(identity, vcpu);
  return known[vcpu];
}

/** Answers of one vCPU, with the values that only the monitor has. */
export class MsrPolicy {
  /** MSRs that KVM holds, with their reset values: what a vCPU is given before it runs. */
  readonly kernelResets: readonly MsrValue[];
  readonly #rules: MsrRules;
  readonly #msrs: ReadonlyMap<number, Msr>;
  readonly #values = new Map<number, bigint>();

  constructor(identity: CpuIdentity, vcpu = 0) {
    this.#rules = rulesOnce(identity, vcpu);
    this.kernelResets = this.#rules.kernelResets;
    this.#msrs = this.#rules.msrs;
  }

  /**
   * What KVM lets the guest reach. With an open pair that is also what travels with it beyond its identity and the dictionary does not know: what the
   * kernel lists on which it starts, or what came with its state. What a kernel has and does not list nobody could carry (c0010130 on Linux
   * 6.12), and what the dictionary knows as another CPU's is answered on some kernels only (Hyper-V's on 5.10).
   */
  filter(beyond: () => readonly number[] = () => []): MsrFilter {
    const { filter, readable, writable } = this.#rules;
    if (filter) return filter;
    const unknown = beyond().filter((index) => !isNamedMsr(index));
    return denyAllBut([...new Set([...readable, ...unknown])], [...new Set([...writable, ...unknown])]);
  }

  /** True where the filter lets the guest read it. */
  isReadable(index: number): boolean {
    return this.#rules.readable.includes(index);
  }

  /** Whether the guest may have an MSR that travels; with an open pair what travels is also what the kernel lists. */
  reaches(index: number): boolean {
    const { filter, readable, writable } = this.#rules;
    return filter !== null || readable.includes(index) || writable.includes(index) || !isNamedMsr(index);
  }

  /** What the guest gets: a value (0 for a write that is done), or the fault. */
  answer({ reason, index, value }: MsrAccess, kernel: KernelMsrs): bigint | '#GP' {
    const msr = this.#msrs.get(index);
    if (!msr || msr.definition.held === 'kernel') return '#GP';
    return reason === 'rdmsr' ? this.#read(msr) : this.#write(msr, value, kernel);
  }

  #read(msr: Msr): bigint | '#GP' {
    return canRead(msr) ? this.#held(msr) : '#GP';
  }

  #held = ({ index, reset }: Msr): bigint => this.#values.get(index) ?? reset ?? 0n;

  #write(msr: Msr, value: bigint, kernel: KernelMsrs): bigint | '#GP' {
    if (!canWrite(msr)) return '#GP';
    const { index, definition } = msr;
    const judged = definition.held === 'judged';
    const hwcr = this.#values.get(K7_HWCR) ?? 0n;
    const kept = judgeWrite(msr, definition.form, value, {
      current: judged ? kernel.get(index) : this.#held(msr),
      paging: kernel.paging,
      banksWritable: (hwcr & HWCR_MC_STATUS_WRITABLE) !== 0n,
    });
    if (kept === '#GP') return '#GP';
    if (judged) return kernel.set(index, kept) ? 0n : '#GP';
    this.#values.set(index, kept);
    return 0n;
  }

  /** As after power-on. */
  reset(): void {
    this.#values.clear();
  }

  /** The values that the monitor holds and that are not as after power-on. */
  save(): MsrValue[] {
    return [...this.#values]
      .filter(([index, value]) => value !== this.#msrs.get(index)!.reset)
      .map(([index, value]) => ({ index, value }))
      .sort((a, b) => a.index - b.index);
  }

  /** Takes what `save` gave. Gives the values that it does not take: of MSRs that the monitor does not hold, or that these cannot hold. */
  load(values: readonly MsrValue[]): MsrValue[] {
    this.reset();
    const refused = values.filter(({ index, value }) => !this.#canHold(index, value));
    if (refused.length === 0) for (const { index, value } of values) this.#values.set(index, value);
    return refused;
  }

  #canHold(index: number, value: bigint): boolean {
    const msr = this.#msrs.get(index);
    if (msr?.definition.held !== 'monitor' || !canWrite(msr)) return false;
    return ((value ^ msr.reset!) & ~msr.writable) === 0n;
  }
}
