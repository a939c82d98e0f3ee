/** Kernels and CPUs that do wrong, from the data of a mutant: as faults of a KVM that runs, and as captures of one. */
import { CpuidTable } from '../../corpora/cpuid.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import type { MsrValue } from '../../corpora/identity.js';
import type { Mutant } from '../../corpora/regressions.js';
import type { Faults } from '../../reference-vmm/kvm/inject.js';
import { injectFaults } from '../../reference-vmm/kvm/inject.js';
import type { Kvm, Vcpu } from '../../reference-vmm/kvm/kvm.js';
import { KvmError } from '../../reference-vmm/kvm/kvm-error.js';
import { clearBits, flipBits, setBits, withFields } from './fields.js';
import { over, overGuests } from './over.js';

type KernelFaults = Extract<Mutant, { kind: 'kernel' }>['faults'];

const supportedBy = (table: CpuidTable, { offersNot = {}, offers = {} }: KernelFaults): CpuidTable =>
  withFields(withFields(table, offersNot, clearBits), offers, setBits, true);

const among = (texts: readonly string[] | undefined): ((index: number) => boolean) | undefined => {
  if (!texts) return undefined;
  const indices = new Set(texts.map(Number));
  return (index) => indices.has(index);
};

const listedBy = (indices: readonly number[], { lists = [], listsNot = [] }: KernelFaults): number[] => [
  ...indices.filter((index) => !among(listsNot)!(index)),
  ...lists.map(Number),
];

/** `host` as a kernel with these faults shows itself to a capture. */
export const captureWith = (host: HostCapabilities, faults: KernelFaults): HostCapabilities => ({
  ...host,
  supportedCpuid: supportedBy(host.supportedCpuid, faults),
  ...(faults.adds ? { cpuidAdditions: withFields(host.cpuidAdditions, faults.adds, setBits, true) } : {}),
  ...(faults.removes
    ? { cpuidRemovals: withFields(host.cpuidRemovals ?? new CpuidTable([]), faults.removes, setBits, true) }
    : {}),
  msrIndices: listedBy(host.msrIndices, faults),
});

/** What a kernel with these faults makes of a table that the guest is shown, beside what KVM_GET_CPUID2 tells. */
export const shownBy = ({ showsSecretly }: KernelFaults): ((table: CpuidTable) => CpuidTable) | null =>
  showsSecretly ? (table) => withFields(table, showsSecretly, flipBits) : null;

/** `kvm` with the faults on those of its vCPUs. Faults of its tables too where `tables`; a capture has them already. */
export function kernelWith(kvm: Kvm, faults: KernelFaults, tables: boolean, vcpus?: readonly number[]): Kvm {
  if (!vcpus) return faultyKernel(kvm, faults, tables);
  return over(kvm, {
    createVm: () => {
      const vm = kvm.createVm();
      const faulty = faultyKernel(over(kvm, { createVm: () => vm }), faults, tables).createVm();
      return over(vm, { createVcpu: (id) => (vcpus.includes(id) ? faulty : vm).createVcpu(id) });
    },
  });
}

function faultyKernel(kvm: Kvm, faults: KernelFaults, tables: boolean): Kvm {
  const faulty = injectFaults(kvm, { ...(tables ? tableFaults(faults) : {}), ...stateFaults(faults) });
  const { losesFrom, tscKhz } = faults;
  return overGuests(faulty, {
    vcpu: (vcpu) => ({
      ...(losesFrom ? { setMsrs: (values) => setUpTo(vcpu, values, Number(losesFrom)) } : {}),
      ...(tscKhz ? otherFrequency(tscKhz) : {}),
    }),
  });
}

/** Counts all as set, and sets those before `index`. */
function setUpTo(vcpu: Vcpu, values: readonly MsrValue[], index: number): number {
  const at = values.findIndex((msr) => msr.index === index);
  if (at < 0) return vcpu.setMsrs(values);
  const done = vcpu.setMsrs(values.slice(0, at));
  return done < at ? done : values.length;
}

/** Of Linux, arch/x86/kvm/x86.c: what TSC frequencies may differ by without hardware that scales. */
const TOLERANCE = 250e-6;

const otherFrequency = (own: number): Partial<Vcpu> => ({
  getTscKhz: () => own,
  setTscKhz: (khz) => {
    if (Math.abs(khz - own) > own * TOLERANCE) throw new KvmError('KVM_SET_TSC_KHZ', EINVAL);
  },
});

const EINVAL = 22;

function tableFaults(faults: KernelFaults): Faults {
  const { adds, removes } = faults;
  const secret = shownBy(faults);
  const made = (table: CpuidTable): CpuidTable => {
    const less = removes ? withFields(table, removes, clearBits) : table;
    const more = adds ? withFields(less, adds, setBits, true) : less;
    return secret ? secret(more) : more;
  };
  return {
    supportedCpuid: (table) => supportedBy(table, faults),
    setCpuid2: made,
    ...(secret ? { getCpuid2: secret } : {}),
    msrIndices: (indices) => listedBy(indices, faults),
  };
}

function stateFaults(faults: KernelFaults): Faults {
  const { refuses, loses, hides, starts, narrows, refusesState, dropsState } = faults;
  const narrowed = new Map(Object.entries(narrows ?? {}).map(([index, bits]) => [Number(index), BigInt(bits)]));
  return {
    ...(refuses ? { refusesMsr: among(refuses)! } : {}),
    ...(loses ? { losesMsr: among(loses)! } : {}),
    ...(hides ? { hidesMsr: among(hides)! } : {}),
    ...(narrows ? { keepsMsr: ({ index, value }) => value & ~(narrowed.get(index) ?? 0n) } : {}),
    ...(starts
      ? { startsMsrs: Object.entries(starts).map(([index, value]) => ({ index: Number(index), value: BigInt(value) })) }
      : {}),
    ...(refusesState || dropsState
      ? {
          setState: (part, bytes) => {
            if (part === refusesState) throw new KvmError(`KVM_SET_${part.toUpperCase()}`, EINVAL);
            return part === dropsState ? null : bytes;
          },
        }
      : {}),
  };
}
