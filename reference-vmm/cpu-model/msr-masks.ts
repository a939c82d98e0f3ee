/** Which values an MSR takes: its writable bits, the bits whose write is swallowed, and the form of the whole. */
import { cpuCondition, cpuNumber } from '../../corpora/cpu-condition.js';
import type { CpuFacts } from '../../corpora/cpu-facts.js';
import type { MaskPart, MsrDefinition, ValueForm } from '../../corpora/msrs.js';

export interface MsrMasks {
  /** Bits that keep what was written; 0 where it cannot be written. */
  readonly writable: bigint;
  readonly ignored: bigint;
}

export const masksOf = ({ writable = [], ignored = [] }: MsrDefinition, cpu: CpuFacts): MsrMasks => ({
  writable: maskOf(writable, cpu),
  ignored: maskOf(ignored, cpu),
});

const maskOf = (mask: string | readonly MaskPart[], cpu: CpuFacts): bigint =>
  typeof mask === 'string' ? BigInt(mask) : mask.reduce((bits, part) => bits | bitsOfPart(part, cpu), 0n);

function bitsOfPart(part: MaskPart, cpu: CpuFacts): bigint {
  if ('field' in part) return BigInt(cpuNumber(part.field)(cpu));
  if ('rule' in part) return ((1n << BigInt(cpu.physicalBits)) - 1n) & ~0xfffn;
  return cpuCondition(part.when ?? 'always')(cpu) ? BigInt(part.bits) : 0n;
}

/** What a value is judged beside. */
export interface WriteContext {
  /** What the MSR holds. */
  readonly current: bigint;
  readonly paging: () => boolean;
  /** AMD's HWCR[18]: machine-check banks may be written. */
  readonly banksWritable: boolean;
}

const IA32_EFER_LME = 1n << 8n;
const PAT_TYPES: ReadonlySet<number> = new Set([0, 1, 4, 5, 6, 7]);
const MTRR_TYPES: ReadonlySet<number> = new Set([0, 1, 4, 5, 6]);
const ALL_ONES = 2n ** 64n - 1n;
/** 48-bit linear addresses: no identity of this project enables 57. */
const isCanonical = (value: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, value)) === value;
const lowByte = (value: bigint): number => Number(value & 0xffn);
const everyByte = (value: bigint, types: ReadonlySet<number>): boolean =>
  [...new Uint8Array(BigUint64Array.of(value).buffer)].every((type) => types.has(type));

/** True where a value has the form. */
export const hasForm: Readonly<Record<ValueForm, (value: bigint, context: WriteContext) => boolean>> = {
  canonical: isCanonical,
  pat: (value) => everyByte(value, PAT_TYPES),
  'mtrr-fixed': (value) => everyByte(value, MTRR_TYPES),
  'mtrr-base': (value) => MTRR_TYPES.has(lowByte(value)),
  'mtrr-default': (value) => MTRR_TYPES.has(lowByte(value)),
  zero: (value, { banksWritable }) => value === 0n || banksWritable,
  'all-or-none': (value) => value === 0n || value === ALL_ONES,
  efer: (value, { current, paging }) => !paging() || ((value ^ current) & IA32_EFER_LME) === 0n,
};

/** What an MSR holds after a write of `value`, or the fault that the write raises. */
export function judgeWrite(
  { writable, ignored }: MsrMasks,
  form: ValueForm | undefined,
  value: bigint,
  context: WriteContext,
): bigint | '#GP' {
  if ((value & ~(writable | ignored)) !== 0n) return '#GP';
  const kept = (value & writable) | (context.current & ~writable);
  return form && !hasForm[form](kept, context) ? '#GP' : kept;
}
