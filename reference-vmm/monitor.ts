/** The monitor: a machine of vCPUs, memory and a few devices, and what runs it. */
import type { CpuidTable } from '../corpora/cpuid.js';
import { InputError } from '../corpora/errors.js';
import type { CpuIdentity } from '../corpora/identity.js';
import type { Reason } from '../corpora/verdict.js';
import { Board, checkMemoryBytes } from './board.js';
import { planBoot } from './boot/boot.js';
import { entryRegs, entrySregs } from './boot/entry.js';
import { applyLoads, type BootOptions, type BootPlan } from './boot/plan.js';
import type { FeatureNamer } from './cpu-model/differences.js';
import { travellingMsrs } from './cpu-model/msrs.js';
import { crash, whereabouts } from './crash.js';
import { Crew } from './crew.js';
import { IdlePoll } from './idle-poll.js';
import { hostCapabilities } from './kvm/capabilities.js';
import type { VcpuExit } from './kvm/exit.js';
import { type GuestMemory, gpa } from './kvm/guest-memory.js';
import type { Kvm, MemoryImage, Vm } from './kvm/kvm.js';
import { landingCount, nextLanding, waitForLanding } from './kvm/vcpu-threads.js';
import type { MachineEvent } from './machine-event.js';
import type { TravelFacts } from './migration/offer.js';
import { msrLimitReasons, unknownMsrReasons } from './msr-limits.js';
import { pagesOf } from './snapshot/machine-parts.js';
import type { MachineCore, MachineState } from './snapshot/machine-state.js';
import { vcpuLimitReasons } from './vcpu-limits.js';

export type { MachineEvent } from './machine-event.js';

export interface MachineOptions {
  /** Names CPUID bits in reasons: `featureName` of corpora/features. */
  readonly nameOf: FeatureNamer;
  /** RAM in bytes, a multiple of 4096. */
  readonly memoryBytes?: number;
  /** What RAM holds at first; default zeros. */
  readonly memoryImage?: MemoryImage;
  /** What `start` and `reset` boot. A machine that is only to take a state needs it for later resets. */
  readonly boot?: BootOptions;
  readonly allowAltered?: boolean;
  readonly forceFeatures?: boolean;
  /** MSRs of the state that is to come: a refusal names those that could not be kept, too. */
  readonly arrivingMsrs?: readonly number[];
  /** For reasons: the step of the scenario; default `boot`. */
  readonly step?: string;
  /** Gets what the guest writes to COM1. */
  readonly onSerial?: (byte: number) => void;
}

/** A machine ready to start or to take a state, or why there is none. */
export type Creation =
  | {
      readonly kind: 'created';
      readonly machine: Machine;
      readonly altered: readonly Reason[];
      readonly forced: readonly string[];
      /** KVM_GET_CPUID2 of each vCPU. */
      readonly readBack: readonly CpuidTable[];
    }
  | { readonly kind: 'refused'; readonly reasons: readonly Reason[] };

/** The probe, its modules and all CPUID rows fit; each page more costs time. */
export const DEFAULT_MEMORY_BYTES = 4 * 1024 * 1024;

export class Machine implements Disposable {
  readonly #board: Board;
  readonly #crew: Crew;
  readonly #plan: BootPlan | null;
  readonly #nameOf: FeatureNamer;
  /** Events that wait for their turn. */
  readonly #events: MachineEvent[] = [];
  readonly #idlePoll = new IdlePoll();
  #fresh = true;

  private constructor(board: Board, { boot, nameOf }: MachineOptions) {
    this.#board = board;
    this.#crew = new Crew(board.processors.map(({ vcpu }) => vcpu));
    this.#nameOf = nameOf;
    this.#plan = boot ? planBoot(boot, board.memoryBytes) : null;
  }

  get identity(): CpuIdentity {
    return this.#board.identity;
  }

  get memory(): GuestMemory {
    return this.#board.memory;
  }

  get memoryBytes(): number {
    return this.#board.memoryBytes;
  }

  /** The VM, for whoever logs or moves its memory. */
  get vm(): Vm {
    return this.#board.vm;
  }

  /**
   * Makes the machine of an identity on `kvm` and realizes its CPU; nothing has run yet. Throws `InputError` on a bad image or memory
   * size, `KvmError` where KVM fails. All is released on every path but `created`.
   */
  static create(kvm: Kvm, identity: CpuIdentity, options: MachineOptions): Creation {
    const { memoryBytes = DEFAULT_MEMORY_BYTES, onSerial = () => undefined, step = 'boot' } = options;
    checkMemoryBytes(memoryBytes);
    const host = hostCapabilities(kvm);
    const tooMany = vcpuLimitReasons(identity, host, step);
    if (tooMany.length > 0) return { kind: 'refused', reasons: tooMany };
    const board = new Board(kvm, identity, { ...options, memoryBytes, onSerial });
    try {
      const machine = new Machine(board, options);
      const limits = msrLimitReasons(host, step);
      const realizations = board.realize({ ...options, features: identity.features, step, host });
      const reasons = [...limits, ...realizations.flatMap((realization) => realization.reasons)];
      if (reasons.length === 0) {
        board.limitMsrs();
        return {
          kind: 'created',
          machine,
          altered: realizations.flatMap(({ altered }) => altered),
          forced: [...new Set(realizations.flatMap(({ forced }) => forced))],
          readBack: realizations.map(({ readBack }) => readBack!),
        };
      }
      board[Symbol.dispose]();
      const known = travellingMsrs(identity, kvm.msrIndices());
      const unknown = unknownMsrReasons(identity, options.arrivingMsrs ?? [], known, step);
      return { kind: 'refused', reasons: [...reasons, ...unknown] };
    } catch (error) {
      board[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Loads the image and sets the entry state of the first vCPU; the others wait for INIT and SIPI. Throws `InputError` `nothing-to-boot`
   * where the machine was made without `boot`.
   */
  start(): void {
    if (!this.#plan) throw new InputError('nothing-to-boot', 'the machine has no image to boot');
    applyLoads(this.#plan, this.memory, this.#fresh);
    this.#fresh = false;
    const { vcpu } = this.#board.processors[0]!;
    vcpu.setSregs(entrySregs(vcpu.getSregs()));
    vcpu.setRegs(entryRegs(this.#plan.entry));
  }

  /** Queues bytes for the guest to read from COM1. */
  sendSerial(bytes: Uint8Array): void {
    this.#board.serial.send(bytes);
    this.#wake(this.#idlePoll.end());
  }

  #wake(index: number | null): void {
    if (index !== null) this.#crew.launch(index);
  }

  /**
   * Runs the guest until something happens that the caller must know, at most `timeoutMs`; it stands still before and after. Throws
   * `KvmError`.
   */
  run({ timeoutMs }: { readonly timeoutMs: number }): MachineEvent {
    const deadline = performance.now() + timeoutMs;
    // One vCPU runs on this thread: a change of threads costs each exit as much again.
    const [first, second] = this.#board.processors;
    if (!second)
      for (;;) {
        if (this.#events.length > 0) return this.#events.shift()!;
        const events = this.#board.serve(first!, first!.vcpu.run(deadline));
        if (events.length > 0) this.#events.push(...events);
      }
    this.launch();
    try {
      for (;;) {
        const seen = landingCount();
        const event = this.#soon(deadline);
        if (event) return event;
        waitForLanding(seen, Math.min(deadline - performance.now(), this.patienceMs));
      }
    } finally {
      this.halt();
    }
  }

  /** `run`, where the event loop turns while the guest runs, or when a signal came: handlers of SIGINT then run in time. */
  async runAsync({ timeoutMs }: { readonly timeoutMs: number }): Promise<MachineEvent> {
    const deadline = performance.now() + timeoutMs;
    if (this.#board.processors.length === 1)
      for (;;) {
        const event = this.run({ timeoutMs: deadline - performance.now() });
        if (event.kind !== 'interrupted') return event;
        // The loop's very first turn does not read signals yet (Node 20, measured).
        for (let turn = 0; turn < 2; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
      }
    this.launch();
    try {
      for (;;) {
        const seen = landingCount();
        const event = this.#soon(deadline);
        if (event) return event;
        await nextLanding(seen, Math.min(deadline - performance.now(), this.patienceMs));
      }
    } finally {
      this.halt();
    }
  }

  /** Lets all vCPUs run, each on a thread, and comes back at once. From here on `poll` must be called at each landing. */
  launch(): void {
    this.#crew.launchAll();
  }

  /** Serves the exits that came. Gives the next event; a vCPU whose event ends or resets the machine stands still. */
  poll(): MachineEvent | null {
    this.#wake(this.#idlePoll.due());
    for (const { index, exit } of this.#crew.landed()) {
      const polls = this.#board.serial.vainPolls;
      const goesOn = this.#serve(index, exit).every(({ kind }) => kind === 'record');
      const rests = this.#board.serial.vainPolls > polls && this.#idlePoll.rests(index);
      if (goesOn && !rests) this.#crew.launch(index);
    }
    return this.#events.shift() ?? null;
  }

  /** How long to wait for a landing, in milliseconds, before `poll` must be called all the same. */
  get patienceMs(): number {
    return this.#idlePoll.msLeft;
  }

  /** Stops all vCPUs. */
  halt(): void {
    this.#idlePoll.end();
    for (const { index, exit } of this.#crew.stopAll()) this.#serve(index, exit);
  }

  /** Serves the exit of a vCPU that ran on a thread; its kick, or another's that came late, is none. */
  #serve(index: number, exit: VcpuExit): readonly MachineEvent[] {
    if (exit.reason === 'interrupted') return [];
    const events = this.#board.serve(this.#board.processors[index]!, exit);
    this.#events.push(...events);
    return events;
  }

  /** The next event, or the end of the time; null where a landing is to be waited for. */
  #soon(deadline: number): MachineEvent | null {
    // So written that NaN ends at once instead of never.
    return this.poll() ?? (performance.now() < deadline ? null : this.#timedOut());
  }

  #timedOut(): MachineEvent {
    this.halt();
    const [first, ...others] = this.#board.processors;
    const elsewhere = others.map(({ index, vcpu }) => `; vCPU ${index} ${whereabouts(vcpu)}`).join('');
    const end = crash('timed-out', 'the time was over', first!.vcpu, this.memory);
    return { kind: 'timed-out', crash: { ...end, message: end.message + elsewhere } };
  }

  /**
   * Resets the machine in its VM, as the reset line of a PC: every register and MSR as at power-on, devices reset, the image loaded
   * anew; the rest of memory stays. Throws `MachineError` `reset-incomplete` where the kernel would not take a power-on value.
   */
  reset(): void {
    this.settle();
    this.#events.length = 0;
    this.#board.reset();
    this.start();
  }

  /** Everything that makes up the stopped machine. The machine can run on afterwards. Throws `KvmError`. */
  saveState(): MachineState {
    return { ...this.saveCore(), pages: pagesOf(this.memory.at(gpa(0), this.memoryBytes)) };
  }

  /** `saveState` without the memory. */
  saveCore(): MachineCore {
    this.settle();
    return this.#board.save();
  }

  /** Every CPUID bit in which a guest of another identity would find itself changed here. */
  identityReasons(identity: CpuIdentity): Reason[] {
    return this.#board.identityReasons(identity, this.#nameOf);
  }

  /** What of this machine must fit where its state goes. */
  travelFacts(): TravelFacts {
    return this.#board.travelFacts();
  }

  /**
   * Takes a state in place of `start`, on a machine that has not run. Gives a reason for everything that did not arrive as it left, and for
   * every CPUID bit in which the state's identity is another; with any the machine must not run. Throws `InputError` `other-machine` on
   * a state of other memory or devices.
   */
  loadState(state: MachineState): Reason[] {
    return this.loadCore(state, () => {
      for (const { gpa: address, bytes } of state.pages) this.memory.at(gpa(address), bytes.length).set(bytes);
    });
  }

  /**
   * `loadState` of a machine whose memory `fill` brings, or which has it already. What is otherwise here and harms no promise of the pair goes
   * into `notes`.
   */
  loadCore(state: MachineCore, fill = (): void => undefined, notes: Reason[] = []): Reason[] {
    const reasons = this.#board.load(state, fill, notes, this.#nameOf);
    this.#fresh = false;
    return reasons;
  }

  /** Stops all vCPUs, and finishes the access that each is in the middle of. */
  settle(): void {
    this.halt();
    this.#events.push(...this.#board.settle());
  }

  [Symbol.dispose](): void {
    this.#board[Symbol.dispose]();
  }
}

/** `machine.runAsync`. */
export const runAsync = (machine: Machine, { timeoutMs }: { readonly timeoutMs: number }): Promise<MachineEvent> =>
  machine.runAsync({ timeoutMs });
