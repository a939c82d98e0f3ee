/** Bits of a guest's CPUID that Firecracker writes itself after the template (its docs/cpu_templates/cpuid-normalization.md). */
import type { CpuidField, Register } from '../../corpora/cpuid.js';

/** Leaf, register, bits; every subleaf of the leaf. */
type Entry = readonly [leaf: number, register: Register, bits: number];

const ALL = 0xffffffff;
const every = (leaf: number): Entry[] => [
  [leaf, 'eax', ALL],
  [leaf, 'ebx', ALL],
  [leaf, 'ecx', ALL],
  [leaf, 'edx', ALL],
];
const BRAND = [0x80000002, 0x80000003, 0x80000004].flatMap(every);

/** Set from the microVM's own shape, or to fixed values: the same on every host. */
const OWN: readonly Entry[] = [
  [0x1, 'ebx', 0xffffff00],
  [0x1, 'ecx', (1 << 15) | (1 << 24) | (1 << 31)],
  [0x1, 'edx', 1 << 28],
  [0xb, 'eax', 0x1f],
  [0xb, 'ebx', 0xffff],
  [0xb, 'ecx', 0xff00],
];
const OWN_INTEL: readonly Entry[] = [
  [0x4, 'eax', 0xffffc000],
  [0x6, 'eax', 1 << 1],
  [0x6, 'ecx', 1 << 3],
  ...every(0xa),
];
const OWN_AMD: readonly Entry[] = [
  [0x7, 'edx', 1 << 29],
  [0x80000000, 'eax', ALL],
  [0x80000001, 'ecx', 1 << 22],
  ...BRAND,
  [0x80000008, 'ecx', 0xf0ff],
  [0x8000001e, 'eax', ALL],
  [0x8000001e, 'ebx', ALL],
  [0x8000001e, 'ecx', ALL],
];

/** Taken from the host's own CPUID: no template can pin it. */
const HOST: readonly Entry[] = [[0x0, 'ebx', ALL], [0x0, 'ecx', ALL], [0x0, 'edx', ALL], ...every(0x80000006)];
/** The name that it writes holds the host's frequency. */
const HOST_INTEL = BRAND;
const HOST_AMD = every(0x8000001d);

const bitsOf = (entries: readonly Entry[], { leaf, register }: CpuidField): number =>
  entries.filter((entry) => entry[0] === leaf && entry[1] === register).reduce((bits, entry) => bits | entry[2], 0) >>>
  0;

/** The bits of a field that Firecracker sets for itself, and those that it takes from the host, for guests of a CPU vendor. */
export function normalizedBits(field: CpuidField, vendor: string): { readonly own: number; readonly host: number } {
  const amd = vendor === 'AuthenticAMD';
  return {
    own: bitsOf([...OWN, ...(amd ? OWN_AMD : OWN_INTEL)], field),
    host: bitsOf([...HOST, ...(amd ? HOST_AMD : HOST_INTEL)], field),
  };
}
