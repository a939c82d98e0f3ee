/** The MSR dictionary: which MSRs there are, when a CPU has them, what they hold, and how they travel. Data in `corpora/msrs/`. */
import { readFileSync } from 'node:fs';
import { hex32 } from './hex.js';
import { packageFile } from './package-root.js';

/** The dictionary's files. */
export const MSR_FILES = [
  'amd',
  'architectural',
  'extended-state',
  'hyper-v',
  'intel',
  'kvm-pv',
  'machine-check',
  'memory-types',
  'microcode',
  'pmu',
  'speculation',
  'time',
  'vmx',
] as const;

/** Names of reset values that follow from the identity (reference-vmm/cpu-model/msr-resets.ts). */
export const RESET_RULES = [
  'apic-base',
  'features',
  'microcode-revision',
  'pmu-global-control',
  'sgx-hash',
  'tsc-frequency',
  'vcpu-index',
  'vmx-basic',
  'vmx-controls',
  'vmx-cr4-fixed1',
  'vmx-misc',
] as const;
export type ResetRule = (typeof RESET_RULES)[number];

/** What a value must look like beyond its writable bits; any other value faults. */
export const VALUE_FORMS = [
  /** A canonical address. */
  'canonical',
  /** Eight memory types, 0, 1, 4 to 7 (SDM vol. 3, 12.12.2). */
  'pat',
  /** Eight memory types, 0, 1, 4 to 6 (SDM vol. 3, 12.11.2.2). */
  'mtrr-fixed',
  /** A memory type in bits 7:0. */
  'mtrr-base',
  'mtrr-default',
  /** Only 0. Machine-check banks of AMD take other values while HWCR[18] is set. */
  'zero',
  /** 0 or all ones. */
  'all-or-none',
  /** LME changes only while paging is off. */
  'efer',
] as const;
export type ValueForm = (typeof VALUE_FORMS)[number];

/** Bits of a mask, given by themselves, by a 32-bit CPUID field, or by MAXPHYADDR from bit 12 on; `when` limits the first. */
export type MaskPart =
  | { readonly when?: string; readonly bits: string }
  | { readonly field: string }
  | { readonly rule: 'physical-page' };

/** One MSR, or `count` of them `stride` apart, as the files have it. Conditions: corpora/cpu-condition.ts. */
export interface MsrDefinition {
  /** Of the first, `0x` and 8 digits. */
  readonly index: string;
  /** A number, or a CPUID field that says how many (`A.EAX[15:8]`); absent: one. */
  readonly count?: number | string;
  /** Absent: 1. */
  readonly stride?: number;
  /** `%` stands for the number within the array. */
  readonly names: { readonly sdm?: string; readonly apm?: string; readonly linux?: string; readonly tlfs?: string };
  /** The condition under which a CPU has it. */
  readonly exists: string;
  /** Absent where it cannot be read. The first choice whose `when` holds. */
  readonly reset?:
    | string
    | { readonly rule: ResetRule }
    | readonly { readonly when?: string; readonly value: string }[];
  readonly access: 'read-write' | 'read' | 'write';
  /** Bits that keep what was written. Bits in neither mask fault when set. */
  readonly writable?: string | readonly MaskPart[];
  /** Bits whose write is swallowed. */
  readonly ignored?: string | readonly MaskPart[];
  readonly form?: ValueForm;
  /**
   * Who answers the guest: the `kernel`; the `monitor`, reads and writes; or the monitor `judged` each write by the masks and the form
   * before the kernel takes it, where kernels differ in what they let through.
   */
  readonly held: 'kernel' | 'monitor' | 'judged';
  /** Why it is not the kernel. */
  readonly why?: string;
  readonly volatility: {
    readonly class: 'constant' | 'per-vcpu' | 'derived' | 'guest-owned' | 'time' | 'host';
    readonly reason: string;
    readonly source: string;
  };
  /** `non-reset`: only where it does not hold its reset value, which both sides know. */
  readonly travels: { readonly how: 'always' | 'non-reset' | 'never'; readonly why?: string };
  /** What a destination must have set before: MSRs (first of an array), `cpuid`, `lapic`, `xsave`. */
  readonly after?: readonly string[];
  readonly sources: readonly string[];
}

export interface MsrFile {
  readonly schema: 'guest-abi/msrs/1';
  /** Sorted by index. */
  readonly msrs: readonly MsrDefinition[];
}

export const msrFilePath = (file: (typeof MSR_FILES)[number]): string => packageFile(`corpora/msrs/${file}.json`);

let dictionary: readonly MsrDefinition[] | undefined;

/** All definitions, in no order; read once. */
export function msrDictionary(): readonly MsrDefinition[] {
  dictionary ??= MSR_FILES.flatMap((file) => (JSON.parse(readFileSync(msrFilePath(file), 'utf8')) as MsrFile).msrs);
  return dictionary;
}

/** The index of one MSR of an array. */
export const msrIndex = ({ index, stride = 1 }: MsrDefinition, number: number): number =>
  Number(index) + number * stride;

/** `IA32_MC3_STATUS`: the manual's name, else AMD's, Microsoft's or Linux's, with its number in the array. */
export function msrName({ names }: MsrDefinition, number = 0): string {
  return (names.sdm ?? names.apm ?? names.tlfs ?? names.linux ?? '').replace('%', `${number}`);
}

/** Length of an array that CPUID gives, for naming; real ones are no longer. */
const MOST_OF_A_KIND = 8;

let namesByIndex: ReadonlyMap<number, string> | undefined;

/** The name of an MSR by its index; null where the dictionary has none. An MSR of its own goes before a member of an array. */
export const msrNameAt = (index: number): string | null => msrNames().get(index) ?? null;

/** The indices that have a name, ascending. */
export const namedMsrs = (): number[] => [...msrNames().keys()].sort((a, b) => a - b);

function msrNames(): ReadonlyMap<number, string> {
  namesByIndex ??= new Map([...msrDictionary()].sort((a, b) => membersOf(b) - membersOf(a)).flatMap(namesOf));
  return namesByIndex;
}

const membersOf = ({ count = 1 }: MsrDefinition): number => (typeof count === 'number' ? count : MOST_OF_A_KIND);

/** The indices of a definition: of all of an array, as for names. */
export const msrIndices = (definition: MsrDefinition): number[] =>
  Array.from({ length: membersOf(definition) }, (_, i) => msrIndex(definition, i));

const namesOf = (definition: MsrDefinition): [number, string][] =>
  Array.from({ length: membersOf(definition) }, (_, i) => [msrIndex(definition, i), msrName(definition, i)]);

/** True for an MSR that the dictionary names, whether a CPU has it or not. */
export const isNamedMsr = (index: number): boolean => msrNameAt(index) !== null;

/** `MSR 0x0000010a (IA32_ARCH_CAPABILITIES)`: how messages write an MSR. */
export function msrLabel(index: number): string {
  const name = msrNameAt(index);
  return `MSR ${hex32(index)}${name ? ` (${name})` : ''}`;
}
