/** Firecracker's CPUID and MSR modifiers: bitmaps such as `0b1x0`, where x leaves the bit open. */
import type { CpuidRow } from '../../corpora/cpuid.js';
import { REGISTERS } from '../../corpora/cpuid.js';
import { hexShort } from '../../corpora/hex.js';
import { rowName } from './cpu-collector.js';
import { type DumpedCpu, type DumpedMsr, maskedCpu, pinnedBits } from './dump.js';
import type { JsonValue } from './json-reader.js';
import { listed } from './losses.js';

/** KVM_CPUID_FLAG_SIGNIFCANT_INDEX: the row is of this subleaf only. */
const INDEXED = 1;
const ARM_KEYS = ['vcpu_features', 'reg_modifiers'] as const;

export interface Modifiers {
  readonly cpu: DumpedCpu;
  readonly facts: Readonly<Record<string, string>>;
  readonly losses: readonly string[];
}

/** Reads `kvm_capabilities`, `cpuid_modifiers` and `msr_modifiers`. */
export function readModifiers(config: JsonValue): Modifiers {
  const arm = ARM_KEYS.map((key) => config.maybe(key)).find((value) => value !== undefined);
  if (arm) throw arm.fail('registers of an Arm CPU; only x86 is read');
  config.only('kvm_capabilities', 'cpuid_modifiers', 'msr_modifiers');
  const odd: string[] = [];
  const rows = new Map<string, { row: CpuidRow; mask: CpuidRow }>();
  for (const modifier of config.maybe('cpuid_modifiers')?.items() ?? []) {
    const read = readRow(modifier, odd);
    const key = rowName(read.row);
    if (rows.has(key)) throw modifier.fail(`CPUID ${key} stands twice`);
    rows.set(key, read);
  }
  const msrs = new Map<number, DumpedMsr>();
  for (const modifier of config.maybe('msr_modifiers')?.items() ?? []) {
    modifier.only('addr', 'bitmap');
    const index = number(modifier.get('addr'));
    if (msrs.has(index)) throw modifier.fail(`MSR ${hexShort(index)} stands twice`);
    msrs.set(index, { index, ...bits(modifier.get('bitmap'), 64) });
  }
  const capabilities = (config.maybe('kvm_capabilities')?.items() ?? []).map((item) => item.string());
  return {
    cpu: maskedCpu(0, [...rows.values()], [...msrs.values()]),
    facts: capabilities.length ? { kvm_capabilities: capabilities.join(' ') } : {},
    losses: odd.length ? [`flags other than 1 (significant index) are not kept: ${listed(odd)}`] : [],
  };
}

function readRow(modifier: JsonValue, odd: string[]): { row: CpuidRow; mask: CpuidRow } {
  modifier.only('leaf', 'subleaf', 'flags', 'modifiers');
  const leaf = number(modifier.get('leaf'));
  const index = number(modifier.get('subleaf'));
  const flags = modifier.get('flags').whole(7);
  const place = { leaf, subleaf: flags & INDEXED || index !== 0 ? index : null };
  if (flags > 1 || (index !== 0 && flags === 0)) odd.push(rowName(place));
  const zero = { ...place, eax: 0, ebx: 0, ecx: 0, edx: 0 };
  let [row, mask] = [zero, zero];
  for (const register of modifier.get('modifiers').items()) {
    register.only('register', 'bitmap');
    const name = register.get('register').oneOf(REGISTERS);
    if (mask[name] !== 0) throw register.fail(`${name} of CPUID ${rowName(place)} stands twice`);
    const { value, mask: pinned } = bits(register.get('bitmap'), 32);
    row = { ...row, [name]: Number(value) };
    mask = { ...mask, [name]: Number(pinned) };
  }
  return { row, mask };
}

/** `0x10a` or `0b11`. */
function number(value: JsonValue): number {
  const text = value.string();
  if (!/^0x[0-9a-fA-F]{1,8}$|^0b[01]{1,32}$/.test(text))
    throw value.fail('expected a 32-bit number such as "0x10a" or "0b101"');
  return Number(text);
}

/** Bits not written are open; `0b` may be left out, and underscores only part the digits (Firecracker, RegisterValueFilter). */
function bits(value: JsonValue, width: 32 | 64): { value: bigint; mask: bigint } {
  const text = value.string();
  const digits = text.replace(/^0b/, '').replaceAll('_', '');
  if (!/^(0b)?[01x_]+$/.test(text) || digits.length === 0) throw value.fail('expected a bitmap such as "0b1x0"');
  if (digits.length > width) throw value.fail(`expected at most ${width} bits, found ${digits.length}`);
  return {
    value: BigInt(`0b${digits.replaceAll('x', '0')}`),
    mask: BigInt(`0b${digits.replaceAll('0', '1').replaceAll('x', '0')}`),
  };
}

const bitmap = (value: bigint, mask: bigint, width: number): string => {
  const values = value.toString(2).padStart(width, '0');
  return `0b${Array.from(mask.toString(2).padStart(width, '0'), (pinned, i) => (pinned === '1' ? values[i] : 'x')).join('')}`;
};

const pinnedRows = (cpu: DumpedCpu): CpuidRow[] =>
  cpu.cpuid.rows.filter((row) => REGISTERS.some((register) => pinnedBits(cpu, row, register) !== 0));

/** The object that Firecracker reads. Registers and rows without a pinned bit are left out. */
export function writeModifiers(cpu: DumpedCpu | undefined, facts: Readonly<Record<string, string>>): object {
  return {
    kvm_capabilities: facts.kvm_capabilities?.split(' ') ?? [],
    cpuid_modifiers: (cpu ? pinnedRows(cpu) : []).map((row) => ({
      leaf: hexShort(row.leaf),
      subleaf: hexShort(row.subleaf ?? 0),
      flags: row.subleaf === null ? 0 : INDEXED,
      modifiers: REGISTERS.map((register) => ({ register, mask: pinnedBits(cpu!, row, register) }))
        .filter(({ mask }) => mask !== 0)
        .map(({ register, mask }) => ({ register, bitmap: bitmap(BigInt(row[register]), BigInt(mask), 32) })),
    })),
    msr_modifiers: (cpu?.msrs ?? []).flatMap((msr) =>
      'fault' in msr ? [] : [{ addr: hexShort(msr.index), bitmap: bitmap(msr.value, msr.mask, 64) }],
    ),
  };
}
