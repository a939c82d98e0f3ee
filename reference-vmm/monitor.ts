/** The monitor: a machine of one vCPU, memory and a few devices, and the loop that runs it. */

import type { CpuidTable } from '../corpora/cpuid.js';
import { InputError, MachineError } from '../corpora/errors.js';
import type { CpuIdentity, MsrValue } from '../corpora/identity.js';
import { msrLabel } from '../corpora/msrs.js';
import type { Reason } from '../corpora/verdict.js';
import { planBoot } from './boot/boot.js';
import { entryRegs, entrySregs } from './boot/entry.js';
import { applyLoads, type BootOptions, type BootPlan } from './boot/plan.js';
import { fillRom, ROM_BASE, ROM_BYTES } from './boot/rom.js';
import { alterations, type FeatureNamer, STATE } from './cpu-model/differences.js';
import { isOpen, travellingMsrs } from './cpu-model/msrs.js';
import { type Crash, crash, crashOf } from './crash.js';
import { DebugExit } from './devices/debug-exit.js';
import { type DeviceEvent, PortBus } from './devices/device.js';
import { ProbePort } from './devices/probe-port.js';
import { ResetPorts } from './devices/reset-ports.js';
import { Serial16550 } from './devices/serial-16550.js';
import { hostCapabilities } from './kvm/capabilities.js';
import type { VcpuExit } from './kvm/exit.js';
import { GuestAddressError, type GuestMemory, gpa } from './kvm/guest-memory.js';
import type { Kvm, Vcpu, Vm } from './kvm/kvm.js';
import { kernelMsrs, limitMsrs, msrLimitReasons } from './msr-limits.js';
import { MsrPolicy } from './msr-policy.js';
import { giveCpuid, type Realization, type RealizeOptions, realize } from './realize.js';
import { type MachineCore, type MachineState, PAGE_BYTES, type Page } from './snapshot/machine-state.js';
import {
  constantMsrs,
  giveVcpuState,
  heldReason,
  strangeMsrs,
  takeVcpuState,
  unreadMsrs,
  type VcpuState,
} from './snapshot/vcpu-state.js';

export interface MachineOptions {
  /** Names CPUID bits in reasons: `featureName` of corpora/features. */
  readonly nameOf: FeatureNamer;
  /** RAM in bytes, a multiple of 4096. */
  readonly memoryBytes?: number;
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
  readonly #kvm: Kvm;
  readonly #vm: Vm;
  readonly #vcpu: Vcpu;
  readonly #memory: GuestMemory;
  readonly #serial: Serial16550;
  readonly #bus: PortBus;
  readonly #plan: BootPlan | null;
  readonly #nameOf: FeatureNamer;
  readonly #msrPolicy: MsrPolicy;
  /** MSRs of forced features, which the kernel does not take. */
  #absentMsrs: readonly number[] = [];
  /** Events of accesses that were finished before their turn. */
  readonly #events: MachineEvent[] = [];
  /** Of an open pair, once asked for. */
  #constantMsrs: ReadonlySet<number> | null = null;
  #fresh = true;

  private constructor(kvm: Kvm, vm: Vm, identity: CpuIdentity, options: MachineOptions) {
    const { memoryBytes = DEFAULT_MEMORY_BYTES, boot, onSerial = () => undefined } = options;
    this.#kvm = kvm;
    this.#vm = vm;
    this.identity = identity;
    this.#nameOf = options.nameOf;
    this.memoryBytes = memoryBytes;
    this.#msrPolicy = new MsrPolicy(identity);
    this.#plan = boot ? planBoot(boot, memoryBytes) : null;
    // In-kernel local APIC; the PIC and IOAPIC, which cost 8 ms, are left out.
    vm.enableCap('KVM_CAP_SPLIT_IRQCHIP', SPLIT_IRQCHIP_ROUTES);
    this.#memory = vm.createMemory([
      { gpa: 0, bytes: memoryBytes },
      { gpa: ROM_BASE, bytes: ROM_BYTES, readOnly: true },
    ]);
    fillRom(this.#memory.at(gpa(ROM_BASE), ROM_BYTES));
    this.#vcpu = vm.createVcpu(identity.vcpus[0]!.apicId);
    this.#serial = new Serial16550(onSerial);
    this.#bus = new PortBus([this.#serial, new DebugExit(), new ResetPorts(), new ProbePort(this.#memory)]);
  }

  /**
   * Makes the machine of an identity on `kvm` and realizes its CPU; nothing has run yet. Throws `InputError` on a bad image or memory
   * size, `KvmError` where KVM fails. All is released on every path but `created`.
   */
  static create(kvm: Kvm, identity: CpuIdentity, options: MachineOptions): Creation {
    checkMemoryBytes(options.memoryBytes ?? DEFAULT_MEMORY_BYTES);
    if (identity.vcpus.length !== 1)
      throw new MachineError('smp-not-supported', `${identity.vcpus.length} vCPUs: this monitor runs one`);
    const vm = kvm.createVm();
    try {
      const machine = new Machine(kvm, vm, identity, options);
      const step = options.step ?? 'boot';
      const host = hostCapabilities(kvm);
      const limits = msrLimitReasons(host, isOpen(identity), step);
      const realization = machine.#realize({
        ...options,
        features: identity.features,
        step,
        host,
      });
      const { altered, forced, readBack } = realization;
      const reasons = [...limits, ...realization.reasons];
      if (reasons.length === 0) {
        limitMsrs(vm, machine.#vcpu, machine.#msrPolicy);
        return { kind: 'created', machine, altered, forced, readBack: [readBack!] };
      }
      vm[Symbol.dispose]();
      return { kind: 'refused', reasons };
    } catch (error) {
      vm[Symbol.dispose]();
      throw error;
    }
  }

  #realize(options: RealizeOptions): Realization {
    const realization = realize(this.#vcpu, this.identity.vcpus[0]!, this.#msrPolicy.kernelResets, options);
    this.#absentMsrs = realization.absentMsrs;
    return realization;
  }

  /** Loads the image and sets the entry state. Throws `InputError` `nothing-to-boot` where the machine was made without `boot`. */
  start(): void {
    if (!this.#plan) throw new InputError('nothing-to-boot', 'the machine has no image to boot');
    applyLoads(this.#plan, this.#memory, this.#fresh);
    this.#fresh = false;
    this.#vcpu.setSregs(entrySregs(this.#vcpu.getSregs()));
    this.#vcpu.setRegs(entryRegs(this.#plan.entry));
  }

  /** Queues bytes for the guest to read from COM1. */
  sendSerial(bytes: Uint8Array): void {
    this.#serial.send(bytes);
  }

  /** Runs the guest until something happens that the caller must know, at most `timeoutMs`. Throws `KvmError`. */
  run({ timeoutMs }: { readonly timeoutMs: number }): MachineEvent {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const event = this.#events.shift() ?? this.#handle(this.#vcpu.run(deadline));
      if (event) return event;
    }
  }

  #handle(exit: VcpuExit): MachineEvent | null {
    switch (exit.reason) {
      case 'io':
        return this.#serve(() => this.#bus.serve(exit));
      case 'mmio':
        // No device is in memory: reads give all ones, writes are lost.
        if (exit.direction === 'read') exit.data.fill(0xff);
        return null;
      case 'rdmsr':
      case 'wrmsr':
        exit.answer(this.#msrPolicy.answer(exit, kernelMsrs(this.#vcpu)));
        return null;
      case 'hlt':
        return { kind: 'halted' };
      case 'shutdown':
        return { kind: 'reset', by: 'triple-fault' };
      case 'interrupted':
        return { kind: 'interrupted' };
      case 'timeout':
        return { kind: 'timed-out', crash: crash('timed-out', 'the time was over', this.#vcpu, this.#memory) };
      default:
        return { kind: 'crashed', crash: crashOf(exit, this.#vcpu, this.#memory) };
    }
  }

  /** The first event; the others of a string instruction wait. A device that is given a bad address ends the guest. */
  #serve(access: () => DeviceEvent[]): MachineEvent | null {
    try {
      const [first = null, ...others] = access();
      this.#events.push(...others);
      return first;
    } catch (error) {
      if (!(error instanceof GuestAddressError)) throw error;
      return { kind: 'crashed', crash: crash('guest-address', error.message, this.#vcpu, this.#memory) };
    }
  }

  /**
   * Resets the machine in its VM, as the reset line of a PC: every register and MSR as at power-on, devices reset, the image loaded
   * anew; the rest of memory stays. Throws `MachineError` `reset-incomplete` where the kernel would not take a power-on value.
   */
  reset(): void {
    this.#settle();
    this.#events.length = 0;
    const reasons = giveVcpuState(this.#vcpu, this.#powerOnState());
    if (reasons.length > 0) throw new MachineError('reset-incomplete', `reset: ${reasons[0]!.message}`);
    this.#msrPolicy.reset();
    for (const device of this.#bus.devices) device.reset();
    this.start();
  }

  /** The state of a vCPU of this identity that never ran, from a VM made for it: no kernel interface resets a vCPU in place. */
  #powerOnState() {
    using vm = this.#kvm.createVm();
    vm.enableCap('KVM_CAP_SPLIT_IRQCHIP', SPLIT_IRQCHIP_ROUTES);
    const { apicId, cpuid } = this.identity.vcpus[0]!;
    const vcpu = vm.createVcpu(apicId);
    giveCpuid(vcpu, cpuid);
    vcpu.setMsrs(this.#msrPolicy.kernelResets.filter(({ index }) => !this.#absentMsrs.includes(index)));
    return this.#take(vcpu, []);
  }

  /** Throws `MachineError` `msr-not-readable` where the kernel hides an MSR of the identity: a state without it would lose it. */
  #take(vcpu: Vcpu, held: readonly MsrValue[]): VcpuState {
    const travelling = this.#travelling();
    const state = takeVcpuState(vcpu, 0, travelling, held);
    const unread = isOpen(this.identity) ? [] : unreadMsrs(state, travelling);
    if (unread.length > 0)
      throw new MachineError('msr-not-readable', `the kernel does not let ${unread.map(msrLabel).join(', ')} be read`);
    return state;
  }

  /** MSRs that a state carries. Asked only where one is taken: it costs a boot 0.3 ms. */
  #travelling(): readonly number[] {
    const listed = this.#kvm.msrIndices();
    const travelling = travellingMsrs(this.identity, listed).filter((index) => !this.#absentMsrs.includes(index));
    if (!isOpen(this.identity)) return travelling;
    // Beyond its list a kernel knows MSRs that it answers with constants.
    this.#constantMsrs ??= new Set(
      constantMsrs(
        this.#vcpu,
        travelling.filter((index) => !listed.includes(index)),
      ),
    );
    return travelling.filter((index) => !this.#constantMsrs!.has(index));
  }

  /** Everything that makes up the stopped machine. The machine can run on afterwards. Throws `KvmError`. */
  saveState(): MachineState {
    return { ...this.saveCore(), pages: pagesOf(this.#memory.at(gpa(0), this.memoryBytes)) };
  }

  /** `saveState` without the memory. */
  saveCore(): MachineCore {
    this.#settle();
    return {
      identity: this.identity,
      memoryBytes: this.memoryBytes,
      clock: this.#vm.getClock(),
      devices: Object.fromEntries(this.#bus.devices.map((device) => [device.name, device.save()])),
      vcpus: [this.#take(this.#vcpu, this.#msrPolicy.save())],
    };
  }

  /**
   * Takes a state in place of `start`, on a machine that has not run. Gives a reason for everything that did not arrive as it left, and for
   * every CPUID bit in which the state's identity is another; with any the machine must not run. Throws `InputError` `other-machine` on
   * a state of other memory or devices.
   */
  loadState(state: MachineState): Reason[] {
    return this.loadCore(state, () => {
      for (const { gpa: address, bytes } of state.pages) this.#memory.at(gpa(address), bytes.length).set(bytes);
    });
  }

  /** `loadState` of a machine whose memory `fill` brings, or which has it already. */
  loadCore(state: MachineCore, fill = (): void => undefined): Reason[] {
    if (state.memoryBytes !== this.memoryBytes)
      throw new InputError(
        'other-machine',
        `the state has ${state.memoryBytes} bytes of memory, the machine ${this.memoryBytes}`,
      );
    if (state.vcpus.length !== 1)
      throw new InputError('other-machine', `the state has ${state.vcpus.length} vCPUs, the machine 1`);
    const place = { step: 'destination', vcpu: 0, nameOf: this.#nameOf };
    const other = alterations(this.identity.vcpus[0]!.cpuid, state.identity.vcpus[0]!.cpuid, place, STATE);
    if (other.length > 0) return other;
    for (const device of this.#bus.devices) loadDevice(device.name, state, (saved) => device.load(saved));
    fill();
    this.#fresh = false;
    const reasons = this.#giveVcpu(state.vcpus[0]!);
    // Flags 0: kvmclock goes on from where it stopped; Linux 5.10 refuses any flag.
    this.#vm.setClock({ ...state.clock, flags: 0 });
    return reasons;
  }

  /** With an open pair the other side's kernel may list other MSRs: this one takes all that come, or names them. */
  #giveVcpu(state: VcpuState): Reason[] {
    const strange = isOpen(this.identity) ? [] : strangeMsrs(state, this.#travelling());
    const unheld = this.#msrPolicy.load(state.held).map((msr) => heldReason(msr, state.index));
    return [...strange, ...unheld, ...giveVcpuState(this.#vcpu, state)];
  }

  /** Finishes the access that the guest is in the middle of. */
  #settle(): void {
    for (let exit = this.#vcpu.settle(); exit; exit = this.#vcpu.settle()) {
      const event = this.#handle(exit);
      if (event) this.#events.push(event);
    }
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

/** The pages that are not all zero. */
function pagesOf(memory: Uint8Array): Page[] {
  const words = new BigUint64Array(memory.buffer, memory.byteOffset, memory.length / 8);
  const perPage = PAGE_BYTES / 8;
  const pages: Page[] = [];
  for (let page = 0; page * PAGE_BYTES < memory.length; page++)
    if (words.subarray(page * perPage, (page + 1) * perPage).some((word) => word !== 0n))
      pages.push({ gpa: page * PAGE_BYTES, bytes: memory.slice(page * PAGE_BYTES, (page + 1) * PAGE_BYTES) });
  return pages;
}

function loadDevice(name: string, { devices }: MachineCore, load: (saved: unknown) => void): void {
  if (!(name in devices)) throw new InputError('other-machine', `the state has no device '${name}'`);
  try {
    load(devices[name]);
  } catch (error) {
    throw new InputError('other-machine', `the state of device '${name}' is malformed: ${(error as Error).message}`);
  }
}

/** `machine.run`, where the event loop may turn when a signal came: handlers of SIGINT then run in time. */
export async function runAsync(machine: Machine, { timeoutMs }: { readonly timeoutMs: number }): Promise<MachineEvent> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const event = machine.run({ timeoutMs: deadline - performance.now() });
    if (event.kind !== 'interrupted') return event;
    // The loop's very first turn does not read signals yet (Node 20, measured).
    for (let turn = 0; turn < 2; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
