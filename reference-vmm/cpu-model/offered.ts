/** What may be exposed on a host: KVM's supported CPUID and the known additions to it. The same rule for real hosts and captures. */
import { type CpuidField, type CpuidRow, type CpuidTable, REGISTERS, type Register } from '../../corpora/cpuid.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { KeptOf } from '../../corpora/kept.js';

type Word = readonly [leaf: number, subleaf: number | null, register: Register];

/**
 * Registers that are sets of features: each set bit must be offered. Others are numbers, names and topology, which KVM shows as given;
 * of those only `CONTENT_LEAVES` and the XSAVE layout are bound to the host.
 */
export const FEATURE_WORDS: readonly Word[] = [
  [0x1, null, 'ecx'],
  [0x1, null, 'edx'],
  [0x6, null, 'eax'],
  [0x7, 0, 'ebx'],
  [0x7, 0, 'ecx'],
  [0x7, 0, 'edx'],
  [0x7, 1, 'eax'],
  [0x7, 1, 'ebx'],
  [0x7, 1, 'ecx'],
  [0x7, 1, 'edx'],
  [0x7, 2, 'edx'],
  [0xd, 0, 'eax'],
  [0xd, 0, 'edx'],
  [0xd, 1, 'eax'],
  [0xd, 1, 'ecx'],
  [0xd, 1, 'edx'],
  [0x19, null, 'ebx'],
  [0x24, 1, 'ecx'],
  [0x29, null, 'ebx'],
  [0x40000001, null, 'eax'],
  [0x40000001, null, 'edx'],
  [0x80000001, null, 'ecx'],
  [0x80000001, null, 'edx'],
  [0x80000007, null, 'ebx'],
  [0x80000007, null, 'edx'],
  [0x80000008, null, 'ebx'],
  [0x8000000a, null, 'edx'],
  [0x8000001f, null, 'eax'],
  [0x80000021, null, 'eax'],
  [0x80000021, null, 'ecx'],
  [0x80000022, null, 'eax'],
  [0xc0000001, null, 'edx'],
];

/** Leaves that describe hardware which KVM hands to the guest as it is (PMU, SGX, Intel PT, LBR, AMX): equal, or zero. */
const CONTENT_LEAVES: ReadonlySet<number> = new Set([0xa, 0x12, 0x14, 0x1c, 0x1d, 0x1e, 0x23]);

/** 1.EDX bits that AMD repeats in 80000001.EDX: APM vol. 3, appendix E.4.2. */
const AMD_ALIASES = 0x0183_f3ff;

interface Addition {
  readonly word: Word;
  /** The bits that may be exposed although KVM_GET_SUPPORTED_CPUID does not have them. */
  readonly bits: (host: HostCapabilities) => number;
}

const all = (bits: number) => () => bits;
/** Optimizations without a new instruction: where the CPU has them, whatever the kernel says. */
const ofCpu = (leaf: number, subleaf: number, register: Register, bits: number) => (host: HostCapabilities) =>
  host.hostCpuid.value(leaf, subleaf, register) & bits;

/** What QEMU adds in `kvm_arch_get_supported_cpuid` (target/i386/kvm/kvm.c), for a split irqchip. */
const ADDITIONS: readonly Addition[] = [
  // hypervisor; tsc-deadline, which the in-kernel local APIC serves where the capability is there.
  {
    word: [0x1, null, 'ecx'],
    bits: ({ capabilities }) => (1 << 31) | (capabilities.KVM_CAP_TSC_DEADLINE_TIMER ? 1 << 24 : 0),
  },
  // ht: only a number of logical processors.
  { word: [0x1, null, 'edx'], bits: all(1 << 28) },
  // arat: the emulated APIC timer never stops.
  { word: [0x6, null, 'eax'], bits: all(1 << 2) },
  // erms.
  { word: [0x7, 0, 'ebx'], bits: ofCpu(0x7, 0, 'ebx', 1 << 9) },
  // fsrm.
  { word: [0x7, 0, 'edx'], bits: ofCpu(0x7, 0, 'edx', 1 << 4) },
  // fzrm, fsrs, fsrc.
  { word: [0x7, 1, 'eax'], bits: ofCpu(0x7, 1, 'eax', 0x1c00) },
  // mcdt-no.
  { word: [0x7, 2, 'edx'], bits: ofCpu(0x7, 2, 'edx', 1 << 5) },
  // topoext: only leaves 8000001D and 8000001E.
  { word: [0x80000001, null, 'ecx'], bits: all(1 << 22) },
  { word: [0x80000001, null, 'edx'], bits: ({ supportedCpuid }) => supportedCpuid.value(1, null, 'edx') & AMD_ALIASES },
  // overflow-recov, succor.
  { word: [0x80000007, null, 'ebx'], bits: all(0x3) },
  // kvm-msi-ext-dest-id: the monitor's to give, with a split irqchip.
  { word: [0x40000001, null, 'eax'], bits: all(1 << 15) },
  // kvm-hint-dedicated: only a hint.
  { word: [0x40000001, null, 'edx'], bits: all(1 << 0) },
];

const ARCH_CAPABILITIES = 1 << 29;
const MSR_ARCH_CAPABILITIES = 0x10a;

/** The bits of one feature word that may be exposed. */
export function offeredBits(host: HostCapabilities, { leaf, subleaf, register }: CpuidField): number {
  // What a kernel shows to every guest it also offers, whatever KVM_GET_SUPPORTED_CPUID says.
  const shown = host.cpuidAdditions.value(leaf, subleaf, register);
  const supported = host.supportedCpuid.value(leaf, subleaf, register) | shown;
  const added = ADDITIONS.filter(({ word }) => word[0] === leaf && word[1] === subleaf && word[2] === register);
  const bits = added.reduce((sum, { bits }) => sum | bits(host), supported) >>> 0;
  // Linux 4.17 to 4.20 offer the bit on AMD without the MSR.
  const withoutMsr =
    leaf === 7 && subleaf === 0 && register === 'edx' && !host.msrIndices.includes(MSR_ARCH_CAPABILITIES);
  const taken = host.cpuidRemovals?.value(leaf, subleaf, register) ?? 0;
  return (bits & ~taken & ~(withoutMsr ? ARCH_CAPABILITIES : 0)) >>> 0;
}

/** A register of an identity that a host cannot give. */
export interface Shortfall extends CpuidField {
  /** `feature`: bits that are not offered; `content`: a leaf that must be the host's; `xsave-layout`: a component stands elsewhere here. */
  readonly kind: 'feature' | 'content' | 'xsave-layout';
  /** The whole register of the identity. */
  readonly wanted: number;
  /** The whole register as this host could give it. */
  readonly offered: number;
  /** The bits at fault. */
  readonly missing: number;
  /** Those of the bits at fault that the CPU itself has: the kernel took them away. */
  readonly inCpu: number;
}

/** All registers of `table` that may not be exposed on `host`, in the table's order; none = the table is offered. */
export const shortfalls = (table: CpuidTable, host: HostCapabilities): readonly Shortfall[] =>
  known.of(host).answer(table.content, () => table.rows.flatMap((row) => rowShortfalls(row, host)));

const known = new KeptOf<HostCapabilities, readonly Shortfall[]>();

function rowShortfalls(row: CpuidRow, host: HostCapabilities): Shortfall[] {
  if (row.leaf === 0xd && row.subleaf !== null && row.subleaf >= 2) return layoutShortfalls(row, host);
  if (CONTENT_LEAVES.has(row.leaf)) return contentShortfalls(row, host);
  if (row.leaf === 0x24 && row.subleaf === 0) return avx10Shortfalls(row, host);
  if (row.leaf === 0x80000008) return [...physBitsShortfall(row, host), ...featureShortfalls(row, host)];
  return featureShortfalls(row, host);
}

function featureShortfalls(row: CpuidRow, host: HostCapabilities): Shortfall[] {
  return FEATURE_WORDS.filter(([leaf, subleaf]) => leaf === row.leaf && subleaf === row.subleaf).flatMap(
    ([leaf, subleaf, register]) => {
      const offered = offeredBits(host, { leaf, subleaf, register });
      return shortfall('feature', row, register, offered, row[register] & ~offered, cpuBits(host, row, register));
    },
  );
}

/** A version up to the host's, and vector lengths (SDM vol. 2A, CPUID leaf 24H; QEMU, x86_cpu_filter_features). */
function avx10Shortfalls(row: CpuidRow, host: HostCapabilities): Shortfall[] {
  const offered = host.supportedCpuid.value(row.leaf, row.subleaf, 'ebx');
  const [version, own] = [row.ebx & 0xff, offered & 0xff];
  const lengths = row.ebx & ~offered & ~0xff;
  return [
    ...shortfall('content', row, 'ebx', offered, version > own ? version ^ own : 0),
    ...shortfall('feature', row, 'ebx', offered, lengths, host.hostCpuid.value(row.leaf, row.subleaf, 'ebx')),
  ];
}

/** What the CPU itself has of a feature word; KVM's own leaves are in no CPU, and an AMD alias stands for the feature at its other place. */
function cpuBits(host: HostCapabilities, { leaf, subleaf }: CpuidRow, register: Register): number {
  // The features that a kernel answers for, whatever the CPU.
  if (leaf === 0x40000001) return ~0;
  const own = host.hostCpuid.value(leaf, subleaf, register);
  return leaf === 0x80000001 && register === 'edx' ? own | (host.hostCpuid.value(1, null, 'edx') & AMD_ALIASES) : own;
}

/** QEMU shows 40 physical address bits on every host; more of them must be there (SDM vol. 3A, 4.1.4). */
const ALWAYS_PHYS_BITS = 40;

function physBitsShortfall(row: CpuidRow, host: HostCapabilities): Shortfall[] {
  const own = host.hostCpuid.value(row.leaf, row.subleaf, 'eax') & 0xff;
  const wanted = row.eax & 0xff;
  if (wanted <= Math.max(own, ALWAYS_PHYS_BITS)) return [];
  return shortfall('content', row, 'eax', ((row.eax & ~0xff) | own) >>> 0, wanted ^ own);
}

/** Size and place of an XSAVE component belong to the CPU: KVM cannot move them. */
function layoutShortfalls(row: CpuidRow, host: HostCapabilities): Shortfall[] {
  const own = host.hostCpuid.get(row.leaf, row.subleaf);
  // A component that the CPU does not have is missing in D.0 or D.1, which names it.
  if (!own) return [];
  return (['eax', 'ebx'] as const).flatMap((register) =>
    shortfall('xsave-layout', row, register, own[register], row[register] ^ own[register]),
  );
}

const contentShortfalls = (row: CpuidRow, host: HostCapabilities): Shortfall[] =>
  REGISTERS.filter((register) => row[register] !== 0).flatMap((register) => {
    const offered = host.supportedCpuid.value(row.leaf, row.subleaf, register);
    return shortfall('content', row, register, offered, row[register] ^ offered);
  });

const shortfall = (
  kind: Shortfall['kind'],
  { leaf, subleaf, ...registers }: CpuidRow,
  register: Register,
  offered: number,
  missing: number,
  own = 0,
): Shortfall[] =>
  missing === 0
    ? []
    : [
        {
          ...{ kind, leaf, subleaf, register, wanted: registers[register], offered },
          missing: missing >>> 0,
          inCpu: (missing & own) >>> 0,
        },
      ];
