/** What a comparison of dumps tells: a difference and its bits. */
import type { CpuidField, CpuidRow } from '../../corpora/cpuid.js';
import type { NameDifference } from './diff-names.js';

/** Where a bit stands: in a CPUID register, or in an MSR. */
export type BitPlace = CpuidField | { readonly msr: number };
/** The name of a feature by its bit, or null where the bit has none. */
export type NameOf = (place: BitPlace, bit: number) => string | null;

/** A side's bit; null where it is as the host has it. */
export type BitValue = 0 | 1 | null;

export interface BitDifference {
  readonly bit: number;
  readonly a: BitValue;
  readonly b: BitValue;
  readonly name: string | null;
}

/** What stands on one side only. */
interface OnlyIn {
  readonly cpu: number;
  readonly onlyIn: 'a' | 'b';
}

export type Difference =
  | ({ readonly kind: 'cpu' } & OnlyIn)
  /** A row; `features` are the names of its bits that are set. */
  | ({ readonly kind: 'row'; readonly row: CpuidRow; readonly features: readonly string[] } & OnlyIn)
  | {
      readonly kind: 'register';
      readonly cpu: number;
      readonly field: CpuidField;
      readonly a: number;
      readonly b: number;
      readonly bits: readonly BitDifference[];
    }
  | {
      readonly kind: 'msr';
      readonly cpu: number;
      readonly index: number;
      /** A value, a fault class, or null where there is no such MSR. */
      readonly a: bigint | string | null;
      readonly b: bigint | string | null;
      readonly bits: readonly BitDifference[];
    }
  | NameDifference;
