/** Values that a guest may write to an MSR, for probes and tests. */
import type { MsrValue } from '../../corpora/identity.js';
import { hasForm } from './msr-masks.js';
import { countsTime, type Msr, type MsrSubject, msrsOf } from './msrs.js';

/** Where a guest lets the hypervisor write: MSRs that take an address get one of these pages. */
export interface SpareMemory {
  /** Guest-physical, page-aligned. */
  readonly page: number;
}

/** Paravirtual MSRs that take an address: where in the page, with bit 0, which switches on. Old and new clocks are one register. */
const ADDRESSES: Readonly<Record<number, number>> = {
  ...{ 17: 0x000, 1263947008: 0x000, 18: 0x041, 1263947009: 0x041 },
  ...{ 1263947010: 0x081, 1263947011: 0x0c1, 1263947012: 0x101 },
};

/** True for an MSR whose value is the address of guest memory that the hypervisor writes to. */
export const isPageAddress = (index: number): boolean => index in ADDRESSES;

const byForm = (msr: Msr, seed: number): bigint => {
  switch (msr.definition.form) {
    case 'pat':
    case 'mtrr-fixed':
      return bytes((i) => [6, 5, 4, 1, 0][(seed + i * (1 + (seed % 3))) % 5]!);
    case 'mtrr-base':
      return (BigInt(0x1000 * (seed + 1)) & msr.writable) | 6n;
    case 'mtrr-default':
      return 0xc06n;
    case 'canonical':
      return (0xffff_8000_0000_0000n | BigInt(seed * 0x1000 + 0x2340)) & msr.writable;
    case 'efer':
      // Never LME, and SVM only where it is there: the guest stays in its mode.
      return 0x801n & msr.writable;
    case 'all-or-none':
    case 'zero':
      return 0n;
    default:
      return BigInt.asUintN(64, BigInt(seed + 1) * 0x9e37_79b9_7f4a_7c15n) & msr.writable;
  }
};

const bytes = (of: (i: number) => number): bigint =>
  new BigUint64Array(Uint8Array.from({ length: 8 }, (_, i) => of(i)).buffer)[0]!;

/** A value that the MSR takes and keeps, another for each `seed`, where its form leaves a choice. */
export function legalValue(msr: Msr, seed: number, { page }: SpareMemory): bigint {
  const address = ADDRESSES[msr.index];
  if (address !== undefined) return BigInt(page + address);
  const value = byForm(msr, seed);
  const { form } = msr.definition;
  if (form && !hasForm[form](value, { current: 0n, paging: () => false, banksWritable: false }))
    throw new RangeError(`${msr.name}: ${value} has not the form '${form}'`);
  return value;
}

const X2APIC = '0x00000800';
/** IA32_APIC_BASE, EFER, FS and GS base: what the probe stands on. */
const GROUND: ReadonlySet<number> = new Set([0x1b, 0xc0000080, 0xc0000100, 0xc0000101]);

/** A legal value for each MSR that a probe guest of an identity may write and find again, but for those that it stands on; another for each `seed`. */
export const legalWrites = (subject: MsrSubject, spare: SpareMemory, seed = 0): MsrValue[] =>
  msrsOf(subject)
    .filter(
      ({ index, writable, definition }) =>
        definition.access === 'read-write' &&
        writable !== 0n &&
        !GROUND.has(index) &&
        definition.index !== X2APIC &&
        !countsTime(index),
    )
    .map((msr, i) => ({ index: msr.index, value: legalValue(msr, seed + i, spare) }));

/** MSRs that are one register of KVM: the old and the new names of its clocks (Linux arch/x86/kvm/x86.c, kvm_set_msr_common). */
const ONE_REGISTER: readonly (readonly number[])[] = [
  [0x11, 0x4b564d00],
  [0x12, 0x4b564d01],
];

/** Every MSR that reads otherwise once one is written. */
export const effectsOf = ({ index, value }: MsrValue): MsrValue[] =>
  (ONE_REGISTER.find((names) => names.includes(index)) ?? [index]).map((name) => ({ index: name, value }));

const WALL_CLOCKS: ReadonlySet<number> = new Set([0x11, 0x4b564d00]);

/** True for an MSR of which a machine has one for all vCPUs, or may have: KVM's wall clock, Hyper-V's (Linux arch/x86/kvm/hyperv.c, kvm_hv_msr_partition_wide). */
export const isOfMachine = (index: number): boolean => WALL_CLOCKS.has(index) || index >>> 12 === 0x40000;
