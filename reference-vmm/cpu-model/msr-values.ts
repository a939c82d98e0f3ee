/** Values that a guest may write to an MSR, for probes and tests. */
import { hasForm } from './msr-masks.js';
import type { Msr } from './msrs.js';

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
