/**
 * A `Kvm` that plays a capture back: it offers, alters and refuses what the captured kernel did, and no kernel is needed. No guest runs on
 * it: whoever asks for that is refused.
 */
import { CpuidTable } from '../../corpora/cpuid.js';
import { MachineError } from '../../corpora/errors.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import type { MsrValue } from '../../corpora/identity.js';
import { withAdditions, withoutBits } from '../cpu-model/additions.js';
import { derivedTable, POWER_ON } from '../cpu-model/derived.js';
import { GuestMemory } from './guest-memory.js';
import { hidesMsrs, takesZero } from './kernel-rules.js';
import type { Kvm, StatePart, Vcpu, Vm, VmClock } from './kvm.js';
import { CONTROL_REGISTERS, SEGMENTS, type Sregs } from './registers.js';

export const recordedKvm = (host: HostCapabilities): Kvm => ({
  facts: host.facts,
  checkExtension: (capability) => host.capabilities[capability] ?? 0,
  supportedCpuid: () => host.supportedCpuid,
  emulatedCpuid: () => host.emulatedCpuid,
  hostCpuid: () => host.hostCpuid,
  msrIndices: () => host.msrIndices,
  featureMsrs: () => host.featureMsrs,
  createVm: () => recordedVm(host),
  [Symbol.dispose]: () => undefined,
});

function recordedVm(host: HostCapabilities): Vm {
  let clock: VmClock = { clock: 0n, flags: 0, realtime: 0n, hostTsc: 0n };
  return {
    checkExtension: (capability) => host.capabilities[capability] ?? 0,
    enableCap: () => undefined,
    createMemory: (ranges) =>
      new GuestMemory(
        ranges.map(({ gpa, bytes, readOnly = false }) => ({
          ...{ gpa, readOnly, bytes: new Uint8Array(bytes), hostAddress: 0n },
        })),
      ),
    openDirtyLog: () => {
      throw runsNothing('dirty log');
    },
    createVcpu: (id) => new RecordedVcpu(host, id),
    getClock: () => clock,
    setClock: (given) => {
      clock = given;
    },
    setMsrFilter: () => undefined,
    [Symbol.dispose]: () => undefined,
  };
}

/** A capture holds no guest's state. */
const runsNothing = (what: string): MachineError =>
  new MachineError('recorded-host', `a recorded host runs no guest: it has no ${what}`);

const ARCH_CAPABILITIES = 0x10a;
const ARCH_CAPABILITIES_BIT = 1 << 29;

/** Knows what a captured kernel makes of CPUID, and which MSRs it lists. */
const ZERO_SEGMENT = Object.fromEntries(
  ['limit', 'selector', 'type', 'present', 'dpl', 'db', 's', 'l', 'g', 'avl', 'unusable'].map((field) => [field, 0]),
);
const ZERO_SREGS = {
  ...Object.fromEntries(SEGMENTS.map((name) => [name, { base: 0n, ...ZERO_SEGMENT }])),
  ...Object.fromEntries(CONTROL_REGISTERS.map((name) => [name, 0n])),
  gdt: { base: 0n, limit: 0 },
  idt: { base: 0n, limit: 0 },
  interruptBitmap: [0n, 0n, 0n, 0n],
} as unknown as Sregs;

class RecordedVcpu implements Vcpu {
  readonly id: number;
  readonly #host: HostCapabilities;
  /** MSRs that the kernel lists, with their values. */
  readonly #msrs: Map<number, bigint>;
  #apicBase = POWER_ON.apicBase;
  #table = new CpuidTable([]);

  constructor(host: HostCapabilities, id: number) {
    this.#host = host;
    this.id = id;
    this.#msrs = new Map(host.msrIndices.map((index) => [index, 0n]));
    for (const { index, value } of host.featureMsrs) this.#msrs.set(index, value);
  }

  enableCap(): void {}

  setCpuid2(table: CpuidTable): void {
    this.#table = table;
  }

  getCpuid2(): CpuidTable {
    const { cpuidAdditions, cpuidRemovals } = this.#host;
    const kept = cpuidRemovals ? withoutBits(this.#table, cpuidRemovals) : this.#table;
    return derivedTable(withAdditions(kept, cpuidAdditions), { ...POWER_ON, apicBase: this.#apicBase });
  }

  /** Up to the first that the kernel does not list. */
  getMsrs(indices: readonly number[]): readonly MsrValue[] {
    const unknown = indices.findIndex((index) => !this.#msrs.has(index));
    return (unknown < 0 ? indices : indices.slice(0, unknown)).map((index) => ({
      index,
      value: this.#hides(index) ? 0n : this.#msrs.get(index)!,
    }));
  }

  #hides(index: number): boolean {
    const hidden = index === ARCH_CAPABILITIES && !(this.#table.value(7, 0, 'edx') & ARCH_CAPABILITIES_BIT);
    return hidden && hidesMsrs(this.#host.facts);
  }

  setMsrs(values: readonly MsrValue[]): number {
    const unknown = values.findIndex(
      ({ index, value }) =>
        (!this.#msrs.has(index) && !(takesZero(index) && value === 0n)) || (value !== 0n && this.#hides(index)),
    );
    const taken = unknown < 0 ? values : values.slice(0, unknown);
    for (const { index, value } of taken) this.#msrs.set(index, value);
    return taken.length;
  }

  getTscKhz(): number {
    return 0;
  }

  setTscKhz(): void {}

  dropStrayReads(): void {}

  getRegs(): never {
    throw runsNothing('registers');
  }

  translate(): never {
    throw runsNothing('memory');
  }

  setRegs(): never {
    throw runsNothing('registers');
  }

  /** As at power-on: the monitor looks at the APIC base before a guest runs. */
  getSregs(): Sregs {
    return { ...ZERO_SREGS, apicBase: this.#apicBase };
  }

  setSregs({ apicBase }: Sregs): void {
    this.#apicBase = apicBase;
  }

  getState(part: StatePart): never {
    throw runsNothing(part);
  }

  setState(part: StatePart): never {
    throw runsNothing(part);
  }

  run(): never {
    throw runsNothing('vCPU that runs');
  }

  settle(): null {
    return null;
  }

  launch(): never {
    throw runsNothing('vCPU that runs');
  }

  landed(): null {
    return null;
  }

  kick(): void {}

  land(): never {
    throw runsNothing('vCPU that runs');
  }

  [Symbol.dispose](): void {}
}
