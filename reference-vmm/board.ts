/** The hardware of a machine: its VM with memory, vCPUs and port devices. It serves exits, and is saved and loaded; what runs it is the monitor. */
import { InputError } from '../corpora/errors.js';
import type { CpuIdentity } from '../corpora/identity.js';
import { type Reason, reason } from '../corpora/verdict.js';
import { fillRom, ROM_BASE, ROM_BYTES } from './boot/rom.js';
import { alterations, type FeatureNamer, STATE } from './cpu-model/differences.js';
import { isOpen } from './cpu-model/msrs.js';
import { crash, crashOf } from './crash.js';
import { DebugExit } from './devices/debug-exit.js';
import { PortBus } from './devices/device.js';
import { ProbePort } from './devices/probe-port.js';
import { ResetPorts } from './devices/reset-ports.js';
import { Serial16550 } from './devices/serial-16550.js';
import type { IoExit, VcpuExit } from './kvm/exit.js';
import { GuestAddressError, type GuestMemory, gpa } from './kvm/guest-memory.js';
import type { Kvm, MemoryImage, Vm } from './kvm/kvm.js';
import type { MachineEvent } from './machine-event.js';
import type { TravelFacts } from './migration/offer.js';
import { limitMsrs } from './msr-limits.js';
import { Processor } from './processor.js';
import type { Realization, RealizeOptions } from './realize.js';
import { loadDevices, saveDevices } from './snapshot/machine-parts.js';
import { type MachineCore, PAGE_BYTES } from './snapshot/machine-state.js';

/** RAM ends where the PC's devices begin. */
const MEMORY_CAP = 0xc000_0000;
const MEMORY_MINIMUM = 0x20_0000;
/** Pins of the IOAPIC that userspace would serve; there is none, but KVM wants a number. */
const SPLIT_IRQCHIP_ROUTES = 24n;
const NO_EVENTS: readonly MachineEvent[] = [];

export interface BoardOptions {
  readonly memoryBytes: number;
  readonly memoryImage?: MemoryImage;
  readonly onSerial: (byte: number) => void;
}

/** Throws `InputError` `bad-memory-size`. */
export function checkMemoryBytes(bytes: number): void {
  if (!Number.isInteger(bytes) || bytes % PAGE_BYTES !== 0 || bytes < MEMORY_MINIMUM || bytes > MEMORY_CAP)
    throw new InputError(
      'bad-memory-size',
      `${bytes} bytes of memory: allowed are multiples of ${PAGE_BYTES} from ${MEMORY_MINIMUM} to ${MEMORY_CAP}`,
      { given: `${bytes}` },
    );
}

export class Board implements Disposable {
  readonly identity: CpuIdentity;
  readonly memoryBytes: number;
  readonly memory: GuestMemory;
  readonly vm: Vm;
  readonly processors: readonly Processor[];
  readonly serial: Serial16550;
  readonly #kvm: Kvm;
  readonly #bus: PortBus;

  /** Throws `KvmError`; what was made is released then. */
  constructor(kvm: Kvm, identity: CpuIdentity, { memoryBytes, memoryImage, onSerial }: BoardOptions) {
    this.#kvm = kvm;
    this.identity = identity;
    this.memoryBytes = memoryBytes;
    this.vm = kvm.createVm();
    try {
      this.#giveIrqchip(this.vm);
      this.memory = this.vm.createMemory([
        { gpa: 0, bytes: memoryBytes, ...(memoryImage && { image: memoryImage }) },
        { gpa: ROM_BASE, bytes: ROM_BYTES, readOnly: true },
      ]);
      fillRom(this.memory.at(gpa(ROM_BASE), ROM_BYTES));
      this.processors = identity.vcpus.map(({ index }) => new Processor(kvm, this.vm, identity, index));
    } catch (error) {
      this.vm[Symbol.dispose]();
      throw error;
    }
    this.serial = new Serial16550(onSerial);
    this.#bus = new PortBus([this.serial, new DebugExit(), new ResetPorts(), new ProbePort(this.memory)]);
  }

  /** In-kernel local APIC; the PIC and IOAPIC, which cost 8 ms, are left out. */
  #giveIrqchip(vm: Vm): void {
    vm.enableCap('KVM_CAP_SPLIT_IRQCHIP', SPLIT_IRQCHIP_ROUTES);
  }

  realize(options: RealizeOptions): Realization[] {
    return this.processors.map((processor) => processor.realize(options));
  }

  /** Precondition: realized without reasons. */
  limitMsrs(): void {
    const vcpus = this.processors.map(({ vcpu }) => vcpu);
    const { msrPolicy } = this.processors[0]!;
    const filter = msrPolicy.filter(() => this.#kvm.msrIndices());
    limitMsrs(this.vm, vcpus, msrPolicy, filter);
  }

  /** Answers an exit; gives what its owner must know of it, in order. */
  serve(processor: Processor, exit: VcpuExit): readonly MachineEvent[] {
    const { vcpu } = processor;
    switch (exit.reason) {
      case 'io':
        return this.#servePort(processor, exit);
      case 'mmio':
        // No device is in memory: reads give all ones, writes are lost.
        if (exit.direction === 'read') exit.data.fill(0xff);
        return NO_EVENTS;
      case 'rdmsr':
      case 'wrmsr':
        processor.answerMsr(exit);
        return NO_EVENTS;
      case 'hlt':
        return [{ kind: 'halted' }];
      case 'shutdown':
        return [{ kind: 'reset', by: 'triple-fault', crash: crashOf(exit, vcpu, this.memory) }];
      case 'interrupted':
        return [{ kind: 'interrupted' }];
      case 'timeout':
        return [{ kind: 'timed-out', crash: crash('timed-out', 'the time was over', vcpu, this.memory) }];
      default:
        return [{ kind: 'crashed', crash: crashOf(exit, vcpu, this.memory) }];
    }
  }

  /** A device that is given a bad address ends the guest. */
  #servePort({ vcpu }: Processor, exit: IoExit): readonly MachineEvent[] {
    try {
      return this.#bus.serve(exit);
    } catch (error) {
      if (!(error instanceof GuestAddressError)) throw error;
      return [{ kind: 'crashed', crash: crash('guest-address', error.message, vcpu, this.memory) }];
    }
  }

  /** Finishes the access that each vCPU is in the middle of. Precondition: none runs. */
  settle(): MachineEvent[] {
    const events: MachineEvent[] = [];
    for (const processor of this.processors)
      for (let exit = processor.vcpu.settle(); exit; exit = processor.vcpu.settle())
        events.push(...this.serve(processor, exit));
    return events;
  }

  /** All vCPUs and devices as at power-on. Precondition: settled. Throws `MachineError` `reset-incomplete`. */
  reset(): void {
    using vm = this.#kvm.createVm();
    this.#giveIrqchip(vm);
    const states = this.processors.map((processor) => processor.powerOnState(vm));
    for (const processor of this.processors) processor.reset(states[processor.index]!);
    for (const device of this.#bus.devices) device.reset();
  }

  /** Precondition: settled. Throws `KvmError`. */
  save(): MachineCore {
    return {
      identity: this.identity,
      memoryBytes: this.memoryBytes,
      clock: this.vm.getClock(),
      devices: saveDevices(this.#bus.devices),
      vcpus: this.processors.map((processor) => processor.save()),
    };
  }

  /** What of this machine must fit where its state goes. */
  travelFacts(): TravelFacts {
    const devices = this.#bus.devices.map(({ name }) => name);
    return { memoryBytes: this.memoryBytes, devices, ...this.processors[0]!.travelFacts() };
  }

  /** Every CPUID bit in which a guest of another identity would find itself changed here. */
  identityReasons({ vcpus }: CpuIdentity, nameOf: FeatureNamer): Reason[] {
    const place = { step: 'destination', nameOf };
    if (vcpus.length !== this.processors.length) {
      const message = `the guest has ${vcpus.length} vCPUs, this machine ${this.processors.length}`;
      return [reason({ code: 'other-machine', step: place.step, layer: 'monitor', message })];
    }
    return this.processors.flatMap(({ index, identity }) =>
      alterations(identity.cpuid, vcpus[index]!.cpuid, { ...place, vcpu: index }, STATE),
    );
  }

  /** `Machine.loadCore`. */
  load(state: MachineCore, fill: () => void, notes: Reason[], nameOf: FeatureNamer): Reason[] {
    checkForm(state, this);
    const other = this.identityReasons(state.identity, nameOf);
    if (other.length > 0) return other;
    loadDevices(this.#bus.devices, state.devices);
    fill();
    const reasons = this.processors.flatMap((processor) => processor.load(state.vcpus[processor.index]!, notes));
    // The guest goes on with the MSRs that it had, also where this kernel lists more.
    if (isOpen(this.identity))
      this.vm.setMsrFilter(this.processors[0]!.msrPolicy.filter(() => state.vcpus[0]!.msrs.map(({ index }) => index)));
    // Flags 0: kvmclock goes on from where it stopped; Linux 5.10 refuses any flag.
    this.vm.setClock({ ...state.clock, flags: 0 });
    return reasons;
  }

  [Symbol.dispose](): void {
    this.vm[Symbol.dispose]();
  }
}

function checkForm({ memoryBytes, vcpus }: MachineCore, board: Board): void {
  const refuse = (has: string, here: number): InputError =>
    new InputError('other-machine', `the state has ${has}, the machine ${here}`);
  if (memoryBytes !== board.memoryBytes) throw refuse(`${memoryBytes} bytes of memory`, board.memoryBytes);
  if (vcpus.length !== board.processors.length) throw refuse(`${vcpus.length} vCPUs`, board.processors.length);
}
