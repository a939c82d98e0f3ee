/** The monitor: a machine of vCPUs, memory and a few devices, and what runs it. */
import type { CpuidTable } from '../corpora/cpuid.js';
import { InputError } from '../corpora/errors.js';
import type { CpuIdentity } from '../corpora/identity.js';
import type { Reason } from '../corpora/verdict.js';
import { planBoot } from './boot/boot.js';
import { entryRegs, entrySregs } from './boot/entry.js';
import { applyLoads, type BootOptions, type BootPlan } from './boot/plan.js';
import { fillRom, ROM_BASE, ROM_BYTES } from './boot/rom.js';
import { alterations, type FeatureNamer, STATE } from './cpu-model/differences.js';
import { isOpen } from './cpu-model/msrs.js';
import { type Crash, crash, crashOf, whereabouts } from './crash.js';
import { Crew } from './crew.js';
import { DebugExit } from './devices/debug-exit.js';
import { type DeviceEvent, PortBus } from './devices/device.js';
import { ProbePort } from './devices/probe-port.js';
import { ResetPorts } from './devices/reset-ports.js';
import { Serial16550 } from './devices/serial-16550.js';
import { hostCapabilities } from './kvm/capabilities.js';
import type { VcpuExit } from './kvm/exit.js';
import { GuestAddressError, type GuestMemory, gpa } from './kvm/guest-memory.js';
import type { Kvm, MemoryImage, Vm } from './kvm/kvm.js';
import { landingCount, nextLanding, waitForLanding } from './kvm/vcpu-threads.js';
import type { TravelFacts } from './migration/offer.js';
import { limitMsrs, msrLimitReasons } from './msr-limits.js';
import { Processor } from './processor.js';
import type { Realization, RealizeOptions } from './realize.js';
import { loadDevices, pagesOf, saveDevices } from './snapshot/machine-parts.js';
import { type MachineCore, type MachineState, PAGE_BYTES } from './snapshot/machine-state.js';
import { vcpuLimitReasons } from './vcpu-limits.js';

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

export type MachineEvent =
  | Exclude<DeviceEvent, { readonly kind: 'reset' }>
  /** The guest asks for a reset; `machine.reset()` does it. */
  | { readonly kind: 'reset'; readonly by: 'reset-control' | 'keyboard' | 'fast-reset' | 'init' | 'triple-fault' }
  /** HLT without a local APIC to wake it. */
  | { readonly kind: 'halted' }
  | { readonly kind: 'crashed'; readonly crash: Crash }
  /** The time was over; `crash` says where the guest was. */
  | { readonly kind: 'timed-out'; readonly crash: Crash }
  /** A signal came: let the event loop turn, then run again. */
  | { readonly kind: 'interrupted' };

/** The probe, its modules and all CPUID rows fit; each page more costs time. */
export const DEFAULT_MEMORY_BYTES = 4 * 1024 * 1024;
/** RAM ends where the PC's devices begin. */
const MEMORY_CAP = 0xc000_0000;
const MEMORY_MINIMUM = 0x20_0000;
/** Pins of the IOAPIC that userspace would serve; there is none, but KVM wants a number. */
const SPLIT_IRQCHIP_ROUTES = 24n;

export class Machine implements Disposable {
  readonly identity: CpuIdentity;
  readonly memoryBytes: number;
  readonly memory: GuestMemory;
  readonly #kvm: Kvm;
  readonly #vm: Vm;
  readonly #processors: readonly Processor[];
  readonly #crew: Crew;
  readonly #serial: Serial16550;
  readonly #bus: PortBus;
  readonly #plan: BootPlan | null;
  readonly #nameOf: FeatureNamer;
  /** Events that wait for their turn. */
  readonly #events: MachineEvent[] = [];
  #fresh = true;

  private constructor(kvm: Kvm, vm: Vm, identity: CpuIdentity, options: MachineOptions) {
    const { memoryBytes = DEFAULT_MEMORY_BYTES, memoryImage, boot, onSerial = () => undefined } = options;
    this.#kvm = kvm;
    this.#vm = vm;
    this.identity = identity;
    this.#nameOf = options.nameOf;
    this.memoryBytes = memoryBytes;
    this.#plan = boot ? planBoot(boot, memoryBytes) : null;
    // In-kernel local APIC; the PIC and IOAPIC, which cost 8 ms, are left out.
    vm.enableCap('KVM_CAP_SPLIT_IRQCHIP', SPLIT_IRQCHIP_ROUTES);
    this.memory = vm.createMemory([
      { gpa: 0, bytes: memoryBytes, ...(memoryImage && { image: memoryImage }) },
      { gpa: ROM_BASE, bytes: ROM_BYTES, readOnly: true },
    ]);
    fillRom(this.memory.at(gpa(ROM_BASE), ROM_BYTES));
    this.#processors = identity.vcpus.map(({ index }) => new Processor(kvm, vm, identity, index));
    this.#crew = new Crew(this.#processors.map(({ vcpu }) => vcpu));
    this.#serial = new Serial16550(onSerial);
    this.#bus = new PortBus([this.#serial, new DebugExit(), new ResetPorts(), new ProbePort(this.memory)]);
  }

  /**
   * Makes the machine of an identity on `kvm` and realizes its CPU; nothing has run yet. Throws `InputError` on a bad image or memory
   * size, `KvmError` where KVM fails. All is released on every path but `created`.
   */
  static create(kvm: Kvm, identity: CpuIdentity, options: MachineOptions): Creation {
    checkMemoryBytes(options.memoryBytes ?? DEFAULT_MEMORY_BYTES);
    const step = options.step ?? 'boot';
    const host = hostCapabilities(kvm);
    const tooMany = vcpuLimitReasons(identity, host, step);
    if (tooMany.length > 0) return { kind: 'refused', reasons: tooMany };
    const vm = kvm.createVm();
    try {
      const machine = new Machine(kvm, vm, identity, options);
      const limits = msrLimitReasons(host, step);
      const realizations = machine.#realize({ ...options, features: identity.features, step, host });
      const reasons = [...limits, ...realizations.flatMap((realization) => realization.reasons)];
      if (reasons.length === 0) {
        machine.#limitMsrs();
        return {
          kind: 'created',
          machine,
          altered: realizations.flatMap(({ altered }) => altered),
          forced: [...new Set(realizations.flatMap(({ forced }) => forced))],
          readBack: realizations.map(({ readBack }) => readBack!),
        };
      }
      vm[Symbol.dispose]();
      return { kind: 'refused', reasons };
    } catch (error) {
      vm[Symbol.dispose]();
      throw error;
    }
  }

  #realize(options: RealizeOptions): Realization[] {
    return this.#processors.map((processor) => processor.realize(options));
  }

  #limitMsrs(): void {
    const vcpus = this.#processors.map(({ vcpu }) => vcpu);
    limitMsrs(
      this.#vm,
      vcpus,
      this.#processors[0]!.msrPolicy.filter(() => this.#kvm.msrIndices()),
    );
  }

  /** The VM, for whoever logs or moves its memory. */
  get vm(): Vm {
    return this.#vm;
  }

  /**
   * Loads the image and sets the entry state of the first vCPU; the others wait for INIT and SIPI. Throws `InputError` `nothing-to-boot`
   * where the machine was made without `boot`.
   */
  start(): void {
    if (!this.#plan) throw new InputError('nothing-to-boot', 'the machine has no image to boot');
    applyLoads(this.#plan, this.memory, this.#fresh);
    this.#fresh = false;
    const { vcpu } = this.#processors[0]!;
    vcpu.setSregs(entrySregs(vcpu.getSregs()));
    vcpu.setRegs(entryRegs(this.#plan.entry));
  }

  /** Queues bytes for the guest to read from COM1. */
  sendSerial(bytes: Uint8Array): void {
    this.#serial.send(bytes);
  }

  /**
   * Runs the guest until something happens that the caller must know, at most `timeoutMs`; it stands still before and after. Throws
   * `KvmError`.
   */
  run({ timeoutMs }: { readonly timeoutMs: number }): MachineEvent {
    const deadline = performance.now() + timeoutMs;
    // One vCPU runs on this thread: a change of threads costs each exit as much again.
    if (this.#processors.length === 1)
      for (const [processor] = this.#processors; ; ) {
        const event = this.#events.shift() ?? this.#handle(processor!, processor!.vcpu.run(deadline));
        if (event) return event;
      }
    this.launch();
    try {
      for (;;) {
        const seen = landingCount();
        const event = this.poll();
        if (event) return event;
        if (!(performance.now() < deadline)) return this.#timedOut();
        waitForLanding(seen, deadline - performance.now());
      }
    } finally {
      this.halt();
    }
  }

  /** `run`, where the event loop turns while the guest runs, or when a signal came: handlers of SIGINT then run in time. */
  async runAsync({ timeoutMs }: { readonly timeoutMs: number }): Promise<MachineEvent> {
    const deadline = performance.now() + timeoutMs;
    if (this.#processors.length === 1)
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
        const event = this.poll();
        if (event) return event;
        if (!(performance.now() < deadline)) return this.#timedOut();
        await nextLanding(seen, deadline - performance.now());
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
    for (const { index, exit } of this.#crew.landed()) {
      const event = exit.reason === 'interrupted' ? null : this.#handle(this.#processors[index]!, exit);
      if (event) this.#events.push(event);
      if (event === null || event.kind === 'record') this.#crew.launch(index);
    }
    return this.#events.shift() ?? null;
  }

  /** Stops all vCPUs. */
  halt(): void {
    for (const { index, exit } of this.#crew.stopAll())
      if (exit.reason !== 'interrupted') this.#note(this.#handle(this.#processors[index]!, exit));
  }

  #timedOut(): MachineEvent {
    this.halt();
    const [first, ...others] = this.#processors;
    const elsewhere = others.map(({ index, vcpu }) => `; vCPU ${index} ${whereabouts(vcpu)}`).join('');
    const end = crash('timed-out', 'the time was over', first!.vcpu, this.memory);
    return { kind: 'timed-out', crash: { ...end, message: end.message + elsewhere } };
  }

  #handle(processor: Processor, exit: VcpuExit): MachineEvent | null {
    const { vcpu } = processor;
    switch (exit.reason) {
      case 'io':
        return this.#serve(processor, () => this.#bus.serve(exit));
      case 'mmio':
        // No device is in memory: reads give all ones, writes are lost.
        if (exit.direction === 'read') exit.data.fill(0xff);
        return null;
      case 'rdmsr':
      case 'wrmsr':
        processor.answerMsr(exit);
        return null;
      case 'hlt':
        return { kind: 'halted' };
      case 'shutdown':
        return { kind: 'reset', by: 'triple-fault' };
      case 'interrupted':
        return { kind: 'interrupted' };
      case 'timeout':
        return { kind: 'timed-out', crash: crash('timed-out', 'the time was over', vcpu, this.memory) };
      default:
        return { kind: 'crashed', crash: crashOf(exit, vcpu, this.memory) };
    }
  }

  /** The first event; the others of a string instruction wait. A device that is given a bad address ends the guest. */
  #serve({ vcpu }: Processor, access: () => DeviceEvent[]): MachineEvent | null {
    try {
      const [first = null, ...others] = access();
      this.#events.push(...others);
      return first;
    } catch (error) {
      if (!(error instanceof GuestAddressError)) throw error;
      return { kind: 'crashed', crash: crash('guest-address', error.message, vcpu, this.memory) };
    }
  }

  #note(event: MachineEvent | null): void {
    if (event) this.#events.push(event);
  }

  /**
   * Resets the machine in its VM, as the reset line of a PC: every register and MSR as at power-on, devices reset, the image loaded
   * anew; the rest of memory stays. Throws `MachineError` `reset-incomplete` where the kernel would not take a power-on value.
   */
  reset(): void {
    this.settle();
    this.#events.length = 0;
    using vm = this.#kvm.createVm();
    vm.enableCap('KVM_CAP_SPLIT_IRQCHIP', SPLIT_IRQCHIP_ROUTES);
    const states = this.#processors.map((processor) => processor.powerOnState(vm));
    for (const processor of this.#processors) processor.reset(states[processor.index]!);
    for (const device of this.#bus.devices) device.reset();
    this.start();
  }

  /** Everything that makes up the stopped machine. The machine can run on afterwards. Throws `KvmError`. */
  saveState(): MachineState {
    return { ...this.saveCore(), pages: pagesOf(this.memory.at(gpa(0), this.memoryBytes)) };
  }

  /** `saveState` without the memory. */
  saveCore(): MachineCore {
    this.settle();
    return {
      identity: this.identity,
      memoryBytes: this.memoryBytes,
      clock: this.#vm.getClock(),
      devices: saveDevices(this.#bus.devices),
      vcpus: this.#processors.map((processor) => processor.save()),
    };
  }

  /** What of this machine must fit where its state goes. */
  travelFacts(): TravelFacts {
    const devices = this.#bus.devices.map(({ name }) => name);
    return { memoryBytes: this.memoryBytes, devices, ...this.#processors[0]!.travelFacts() };
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
    if (state.memoryBytes !== this.memoryBytes)
      throw new InputError(
        'other-machine',
        `the state has ${state.memoryBytes} bytes of memory, the machine ${this.memoryBytes}`,
      );
    if (state.vcpus.length !== this.#processors.length)
      throw new InputError(
        'other-machine',
        `the state has ${state.vcpus.length} vCPUs, the machine ${this.#processors.length}`,
      );
    const other = this.#processors.flatMap(({ index, identity }) =>
      alterations(
        identity.cpuid,
        state.identity.vcpus[index]!.cpuid,
        { step: 'destination', vcpu: index, nameOf: this.#nameOf },
        STATE,
      ),
    );
    if (other.length > 0) return other;
    loadDevices(this.#bus.devices, state.devices);
    fill();
    this.#fresh = false;
    const reasons = this.#processors.flatMap((processor) => processor.load(state.vcpus[processor.index]!, notes));
    // The guest goes on with the MSRs that it had, also where this kernel lists more.
    if (isOpen(this.identity))
      this.#vm.setMsrFilter(
        this.#processors[0]!.msrPolicy.filter(() => state.vcpus[0]!.msrs.map(({ index }) => index)),
      );
    // Flags 0: kvmclock goes on from where it stopped; Linux 5.10 refuses any flag.
    this.#vm.setClock({ ...state.clock, flags: 0 });
    return reasons;
  }

  /** Stops all vCPUs, and finishes the access that each is in the middle of. */
  settle(): void {
    this.halt();
    for (const processor of this.#processors)
      for (let exit = processor.vcpu.settle(); exit; exit = processor.vcpu.settle())
        this.#note(this.#handle(processor, exit));
  }

  [Symbol.dispose](): void {
    this.#vm[Symbol.dispose]();
  }
}

function checkMemoryBytes(bytes: number): void {
  if (!Number.isInteger(bytes) || bytes % PAGE_BYTES !== 0 || bytes < MEMORY_MINIMUM || bytes > MEMORY_CAP)
    throw new InputError(
      'bad-memory-size',
      `${bytes} bytes of memory: allowed are multiples of ${PAGE_BYTES} from ${MEMORY_MINIMUM} to ${MEMORY_CAP}`,
      { given: `${bytes}` },
    );
}

/** `machine.runAsync`. */
export const runAsync = (machine: Machine, { timeoutMs }: { readonly timeoutMs: number }): Promise<MachineEvent> =>
  machine.runAsync({ timeoutMs });
