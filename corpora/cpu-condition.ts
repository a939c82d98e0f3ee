/**
 * Conditions over a CPU, as the MSR dictionary writes them: `1.ECX[5] & (vmx-ept | vmx-vpid)`, `intel & family=6 & model>=0x1a`.
 *
 *     condition  = term { '|' term }         term = factor { '&' factor }        factor = [ '!' ] ( '(' condition ')' | fact )
 *     fact       = always | never | intel | amd | hygon | zhaoxin | centaur
 *                | ( family | model | FIELD ) ( '=' | '>=' | '>' | '<' ) number
 *                | FIELD                     CPUID: `7.0.EDX[29]`, `1.ECX[5]`, `A.EAX[15:8]`; true where it is not 0
 *                | kvm[3]                    a bit of KVM's feature leaf, wherever its base is
 *                | hyperv.EAX[5] | hyperv.syndbg     a bit of Hyper-V's feature leaf
 *                | feature-name              QEMU's name: `pmu`, or a bit of a feature MSR (`tsx-ctrl`)
 */
import type { CpuFacts } from './cpu-facts.js';
import { type CpuidField, isIndexedLeaf, type Register } from './cpuid.js';

export type CpuCondition = (cpu: CpuFacts) => boolean;
export type CpuNumber = (cpu: CpuFacts) => number;

const VENDORS: Readonly<Record<string, string>> = {
  intel: 'GenuineIntel',
  amd: 'AuthenticAMD',
  hygon: 'HygonGenuine',
  zhaoxin: '  Shanghai  ',
  centaur: 'CentaurHauls',
};

const COMPARE: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  '=': (a, b) => a === b,
  '>=': (a, b) => a >= b,
  '>': (a, b) => a > b,
  '<': (a, b) => a < b,
};

const FIELD = /^([0-9A-F]+)(?:\.([0-9A-F]+))?\.(E[A-D]X)(?:\[(\d+)(?::(\d+))?\])?$/;
const TOKEN = /\s*([&|!()]|>=|[<>=]|[^\s&|!()<>=]+)/y;

const FEATURE = /^[a-z][a-z0-9-]*$/;
/** Words that are no feature. */
const WORDS: ReadonlySet<string> = new Set(['always', 'never', 'family', 'model']);

const conditions = new Map<string, CpuCondition>();

/** Reads a condition. Throws `RangeError` where it is malformed. */
export function cpuCondition(text: string): CpuCondition {
  const known = conditions.get(text);
  if (known) return known;
  const tokens = tokensOf(text);
  const condition = alternatives(tokens);
  if (tokens.length > 0) throw new RangeError(`'${tokens[0]}' stands too much in condition '${text}'`);
  conditions.set(text, condition);
  return condition;
}

function tokensOf(text: string): string[] {
  const tokens: string[] = [];
  for (TOKEN.lastIndex = 0; TOKEN.lastIndex < text.trimEnd().length; ) {
    const [, token] = TOKEN.exec(text) ?? [];
    if (token === undefined) throw new RangeError(`malformed condition '${text}'`);
    tokens.push(token);
  }
  return tokens;
}

function alternatives(tokens: string[]): CpuCondition {
  const terms = separated(tokens, '|', conjunction);
  return (cpu) => terms.some((term) => term(cpu));
}

function separated(tokens: string[], by: string, part: (tokens: string[]) => CpuCondition): CpuCondition[] {
  const parts = [part(tokens)];
  while (tokens[0] === by) {
    tokens.shift();
    parts.push(part(tokens));
  }
  return parts;
}

function conjunction(tokens: string[]): CpuCondition {
  const factors = separated(tokens, '&', factor);
  return (cpu) => factors.every((holds) => holds(cpu));
}

function factor(tokens: string[]): CpuCondition {
  const token = tokens.shift();
  if (token === undefined) throw new RangeError('a condition ends where a fact should stand');
  if (token === '!') {
    const denied = factor(tokens);
    return (cpu) => !denied(cpu);
  }
  if (token !== '(') return tokens[0] !== undefined && tokens[0] in COMPARE ? comparison(token, tokens) : fact(token);
  const inner = alternatives(tokens);
  if (tokens.shift() !== ')') throw new RangeError("a condition lacks a ')'");
  return inner;
}

function comparison(what: string, tokens: string[]): CpuCondition {
  const compare = COMPARE[tokens.shift()!]!;
  const wanted = Number(tokens.shift());
  if (Number.isNaN(wanted)) throw new RangeError(`'${what}' is compared with no number`);
  const number = cpuNumber(what);
  return (cpu) => compare(number(cpu), wanted);
}

const numbers = new Map<string, CpuNumber>();

/** A number of a CPU: `family`, `model`, or a CPUID field such as `A.EAX[15:8]`, doubled by `*2`. Throws `RangeError`. */
export function cpuNumber(text: string): CpuNumber {
  const known = numbers.get(text) ?? readNumber(text);
  numbers.set(text, known);
  return known;
}

function readNumber(text: string): CpuNumber {
  if (text === 'family') return (cpu) => cpu.family;
  if (text === 'model') return (cpu) => cpu.model;
  const [, field = '', times = '1'] = /^([^*]+)(?:\*(\d+))?$/.exec(text) ?? [];
  const { leaf, subleaf, register, high, low } = cpuidBits(field);
  const width = high - low + 1;
  const mask = 2 ** width - 1;
  return (cpu) => ((cpu.cpuid.value(leaf, subleaf, register) >>> low) & mask) * Number(times);
}

interface CpuidBits extends CpuidField {
  readonly high: number;
  readonly low: number;
}

/** `7.0.EDX[29]`, `A.EAX[15:8]`, `D.1.ECX`: the row and the bits. Throws `RangeError`. */
export function cpuidBits(text: string): CpuidBits {
  const [, leafText, subleafText, register, high, low] = FIELD.exec(text) ?? [];
  if (leafText === undefined) throw new RangeError(`'${text}' is no CPUID field`);
  const leaf = Number.parseInt(leafText, 16);
  if (isIndexedLeaf(leaf) !== (subleafText !== undefined))
    throw new RangeError(`'${text}': leaf ${leafText} ${isIndexedLeaf(leaf) ? 'needs a subleaf' : 'has no subleaves'}`);
  return {
    leaf,
    subleaf: subleafText === undefined ? null : Number.parseInt(subleafText, 16),
    register: register!.toLowerCase() as Register,
    high: Number(high ?? 31),
    low: Number(low ?? high ?? 0),
  };
}

/** QEMU names of the features that a condition asks for. */
export const featuresOfCondition = (text: string): string[] =>
  tokensOf(text).filter((token) => FEATURE.test(token) && !WORDS.has(token) && !(token in VENDORS));

function fact(token: string): CpuCondition {
  if (token === 'always') return () => true;
  if (token === 'never') return () => false;
  if (token === 'hyperv.syndbg') return (cpu) => cpu.hypervSyndbg;
  const vendor = VENDORS[token];
  if (vendor !== undefined) return (cpu) => cpu.vendor === vendor;
  const [, kvmBit] = /^kvm\[(\d+)\]$/.exec(token) ?? [];
  if (kvmBit !== undefined) return (cpu) => hasBit(cpu.kvmFeatures, kvmBit);
  const [, register, bit] = /^hyperv\.(E[A-D]X)\[(\d+)\]$/.exec(token) ?? [];
  if (register !== undefined) return (cpu) => hasBit(cpu.hypervFeatures(register.toLowerCase() as Register), bit!);
  if (FEATURE.test(token)) return (cpu) => cpu.features.has(token);
  const number = cpuNumber(token);
  return (cpu) => number(cpu) !== 0;
}

const hasBit = (value: number, bit: string): boolean => ((value >>> Number(bit)) & 1) === 1;
