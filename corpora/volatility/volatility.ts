/** Volatility of CPUID fields and MSRs: which of them may differ from a contract or over time, how, and why. */
import { readFileSync } from 'node:fs';
import { cpuCondition } from '../cpu-condition.js';
import type { CpuFacts } from '../cpu-facts.js';
import type { CpuidField, CpuidTable, Register } from '../cpuid.js';
import { REGISTERS } from '../cpuid.js';
import { InputError } from '../errors.js';
import { parseHex32 } from '../hex.js';
import { msrDictionary, msrIndices } from '../msrs.js';
import { packageFile } from '../package-root.js';

/** DESIGN, "volatility". What no entry names is `constant`. */
export const VOLATILITY_CLASSES = ['constant', 'per-vcpu', 'derived', 'guest-owned', 'time', 'host'] as const;
export type VolatilityClass = (typeof VOLATILITY_CLASSES)[number];

interface Grounds {
  readonly class: VolatilityClass;
  readonly reason: string;
  readonly source: string;
}

/** Exact bits of one CPUID register. `subleaf` null: of every subleaf. */
export interface CpuidVolatility extends Grounds, CpuidField {
  readonly bits: number;
  /** Of class `derived`: the name of the rule that computes the bits. */
  readonly rule: string | null;
}

/** Exact bits of a control register. */
export interface RegisterVolatility extends Grounds {
  readonly register: 'cr0' | 'cr4';
  readonly bits: number;
  /** The CPUs whose guests cannot own the bits (corpora/cpu-condition.ts). */
  readonly when: string;
}

export interface Volatility {
  readonly cpuid: readonly CpuidVolatility[];
  /** By index; what the MSR dictionary says of each, arrays of a length that CPUID gives up to `MOST_OF_A_KIND`. */
  readonly msrs: ReadonlyMap<number, Grounds>;
  readonly registers: readonly RegisterVolatility[];
}

type Json = Readonly<Record<string, unknown>>;

/** Reads the files of corpora/volatility, and the MSR dictionary. Throws `InputError` (`bad-volatility`) naming the entry at fault. */
export function loadVolatility(folder = packageFile('corpora/volatility')): Volatility {
  return {
    cpuid: readEntries(`${folder}/cpuid.json`, 'guest-abi/volatility-cpuid/1', cpuidEntry),
    msrs: msrVolatility(),
    registers: readEntries(`${folder}/registers.json`, 'guest-abi/volatility-registers/1', registerEntry),
  };
}

function readEntries<T>(file: string, schema: string, read: (entry: Json) => T): T[] {
  const document = JSON.parse(readFileSync(file, 'utf8')) as { schema: unknown; entries: Json[] };
  if (document.schema !== schema) throw new InputError('bad-volatility', `${file}: schema is not ${schema}`);
  return document.entries.map((entry, i) => {
    try {
      return read(entry);
    } catch (cause) {
      throw new InputError('bad-volatility', `${file}: entry ${i}: ${(cause as Error).message}`, { cause });
    }
  });
}

function registerEntry(json: Json): RegisterVolatility {
  const { register } = json;
  if (register !== 'cr0' && register !== 'cr4')
    throw new RangeError(`register ${String(register)} is neither cr0 nor cr4`);
  const bits = hexIn(json, 'bits');
  if (bits === 0) throw new RangeError('no bits');
  const { when } = json;
  if (typeof when !== 'string') throw new RangeError('when is no text');
  cpuCondition(when);
  return { ...groundsOf(json, ['register', 'bits', 'when']), register, bits, when };
}

function cpuidEntry(json: Json): CpuidVolatility {
  const { register, rule = null, ...rest } = json;
  const grounds = groundsOf(rest, ['leaf', 'subleaf', 'bits']);
  if (!REGISTERS.includes(register as Register)) throw new RangeError(`no register: ${String(register)}`);
  if ((grounds.class === 'derived') !== (typeof rule === 'string'))
    throw new RangeError('a rule stands where derived, and only there');
  const bits = hexIn(json, 'bits');
  if (bits === 0) throw new RangeError('no bits');
  return {
    ...grounds,
    leaf: hexIn(json, 'leaf'),
    subleaf: json.subleaf === undefined ? null : hexIn(json, 'subleaf'),
    register: register as Register,
    bits,
    rule: rule as string | null,
  };
}

let ofDictionary: ReadonlyMap<number, Grounds> | undefined;

function msrVolatility(): ReadonlyMap<number, Grounds> {
  ofDictionary ??= new Map(msrDictionary().flatMap((msr) => msrIndices(msr).map((index) => [index, msr.volatility])));
  return ofDictionary;
}

const hexIn = (json: Json, key: string): number => {
  const text = json[key];
  if (typeof text !== 'string') throw new RangeError(`${key} is no text`);
  return parseHex32(text);
};

/** Refuses keys beside `own`, so that a misspelt one cannot widen an entry. */
function groundsOf(json: Json, own: readonly string[]): Grounds {
  const stray = Object.keys(json).filter((key) => !['class', 'reason', 'source', ...own].includes(key));
  if (stray.length > 0) throw new RangeError(`unknown key ${stray.join(', ')}`);
  const { class: kind, reason, source } = json;
  if (!VOLATILITY_CLASSES.includes(kind as VolatilityClass)) throw new RangeError(`no class: ${String(kind)}`);
  if (typeof reason !== 'string' || !reason || typeof source !== 'string' || !source) {
    throw new RangeError('reason or source is missing');
  }
  return { class: kind as VolatilityClass, reason, source };
}

/** Bits of one register that the entries of a class name. */
export const volatileBits = (volatility: Volatility, kind: VolatilityClass, field: CpuidField): number =>
  volatility.cpuid
    .filter((entry) => entry.class === kind && appliesTo(entry, field))
    .reduce((bits, entry) => bits | entry.bits, 0) >>> 0;

const appliesTo = (entry: CpuidVolatility, field: CpuidField): boolean =>
  entry.leaf === field.leaf &&
  entry.register === field.register &&
  (entry.subleaf === null || entry.subleaf === field.subleaf);

/** Bits of a control register that may vary with the host, for guests of this CPU. */
export const hostRegisterBits = (
  volatility: Volatility,
  register: RegisterVolatility['register'],
  cpu: CpuFacts,
): number =>
  volatility.registers
    .filter((entry) => entry.class === 'host' && entry.register === register && cpuCondition(entry.when)(cpu))
    .reduce((bits, entry) => bits | entry.bits, 0) >>> 0;

/** The class of an MSR. */
export const msrClass = (volatility: Volatility, index: number): VolatilityClass =>
  volatility.msrs.get(index)?.class ?? 'constant';

/** Entries that none of the tables has a place for. Each is dead data or, worse, a misspelt exception, and fails the check of the corpora. */
export function unmatchedEntries(volatility: Volatility, tables: Iterable<CpuidTable>): CpuidVolatility[] {
  const places = [...tables].flatMap((table) => table.rows);
  return volatility.cpuid.filter(
    (entry) => !places.some((row) => appliesTo(entry, { ...row, register: entry.register })),
  );
}
