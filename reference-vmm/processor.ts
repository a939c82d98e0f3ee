/** One vCPU of a machine: its identity realized on KVM, its MSRs, and its state. */
import { MachineError } from '../corpora/errors.js';
import type { CpuIdentity, VcpuIdentity } from '../corpora/identity.js';
import { msrLabel } from '../corpora/msrs.js';
import type { Reason } from '../corpora/verdict.js';
import { isOpen, travellingMsrs } from './cpu-model/msrs.js';
import type { MsrExit } from './kvm/exit.js';
import type { Kvm, Vcpu, Vm } from './kvm/kvm.js';
import type { TravelFacts } from './migration/offer.js';
import { kernelMsrs } from './msr-limits.js';
import { MsrPolicy } from './msr-policy.js';
import { giveCpuid, type Realization, type RealizeOptions, realize } from './realize.js';
import {
  constantMsrs,
  giveVcpuState,
  heldReason,
  strangeMsrs,
  takeVcpuState,
  unreadMsrs,
  type VcpuState,
} from './snapshot/vcpu-state.js';

export class Processor {
  readonly index: number;
  readonly vcpu: Vcpu;
  readonly msrPolicy: MsrPolicy;
  readonly #kvm: Kvm;
  readonly #identity: CpuIdentity;
  /** MSRs of forced features, which the kernel does not take. */
  #absentMsrs: readonly number[] = [];
  /** Of an open pair, once asked for. */
  #constantMsrs: ReadonlySet<number> | null = null;

  constructor(kvm: Kvm, vm: Vm, identity: CpuIdentity, index: number) {
    this.#kvm = kvm;
    this.#identity = identity;
    this.index = index;
    this.vcpu = vm.createVcpu(this.identity.apicId);
    this.msrPolicy = new MsrPolicy(identity, index);
  }

  get identity(): VcpuIdentity {
    return this.#identity.vcpus[this.index]!;
  }

  realize(options: RealizeOptions): Realization {
    const realization = realize(this.vcpu, this.identity, this.msrPolicy.kernelResets, options);
    this.#absentMsrs = realization.absentMsrs;
    return realization;
  }

  answerMsr(exit: MsrExit): void {
    exit.answer(this.msrPolicy.answer(exit, kernelMsrs(this.vcpu)));
  }

  /** The state of this vCPU as it was before it first ran; `vm` is made for it, since no kernel interface resets a vCPU in place. */
  powerOnState(vm: Vm): VcpuState {
    const { apicId, cpuid } = this.identity;
    const vcpu = vm.createVcpu(apicId);
    giveCpuid(vcpu, cpuid);
    vcpu.setMsrs(this.msrPolicy.kernelResets.filter(({ index }) => !this.#absentMsrs.includes(index)));
    return this.#take(vcpu, []);
  }

  /** Throws `MachineError` `reset-incomplete` where the kernel would not take a power-on value. */
  reset(state: VcpuState): void {
    const reasons = giveVcpuState(this.vcpu, state);
    if (reasons.length > 0) throw new MachineError('reset-incomplete', `reset: ${reasons[0]!.message}`);
    this.msrPolicy.reset();
  }

  save(): VcpuState {
    return this.#take(this.vcpu, this.msrPolicy.save());
  }

  /**
   * Gives a reason for everything that did not arrive as it left. With an open pair the other side's kernel may list other MSRs: this one
   * takes all that come, or names them; those of the CPU itself must come.
   */
  load(state: VcpuState, notes: Reason[] = []): Reason[] {
    const travelling = this.#travelling();
    const strange = strangeMsrs(state, isOpen(this.#identity) ? this.#ownOr(travelling, state) : travelling);
    const unheld = this.msrPolicy.load(state.held).map((msr) => heldReason(msr, state.index));
    return [...strange, ...unheld, ...giveVcpuState(this.vcpu, state, 'destination', notes)];
  }

  /** Of `travelling` those of the identity, and whatever a state carries. */
  #ownOr(travelling: readonly number[], { msrs }: VcpuState): number[] {
    const own = new Set(travellingMsrs(this.#identity, []));
    return [...travelling.filter((index) => own.has(index)), ...msrs.map(({ index }) => index)];
  }

  /** What of this vCPU must fit where its state goes. */
  travelFacts(): Pick<TravelFacts, 'msrs' | 'xsaveBytes' | 'tscKhz'> {
    return {
      msrs: this.#travelling(),
      xsaveBytes: this.vcpu.getState('xsave').length,
      tscKhz: this.vcpu.getTscKhz(),
    };
  }

  /** Throws `MachineError` `msr-not-readable` where the kernel hides an MSR that the guest reaches: a state without it would lose it. */
  #take(vcpu: Vcpu, held: VcpuState['held']): VcpuState {
    const travelling = this.#travelling();
    const state = takeVcpuState(vcpu, this.index, travelling, held);
    // Linux 5.10 lists MSRs of a PMU that it has not: their guests do not reach them either.
    const unread = unreadMsrs(state, travelling).filter((index) => this.msrPolicy.reaches(index));
    if (unread.length > 0)
      throw new MachineError('msr-not-readable', `the kernel does not let ${unread.map(msrLabel).join(', ')} be read`);
    return state;
  }

  /** MSRs that a state carries. Asked only where one is taken: it costs a boot 0.3 ms. */
  #travelling(): readonly number[] {
    const listed = this.#kvm.msrIndices();
    const travelling = travellingMsrs(this.#identity, listed).filter((index) => !this.#absentMsrs.includes(index));
    if (!isOpen(this.#identity)) return travelling;
    // Beyond its list a kernel knows MSRs that it answers with constants.
    this.#constantMsrs ??= new Set(
      constantMsrs(
        this.vcpu,
        travelling.filter((index) => !listed.includes(index)),
      ),
    );
    return travelling.filter((index) => !this.#constantMsrs!.has(index));
  }
}
