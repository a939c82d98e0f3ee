/** What a guest must read at any (leaf, subleaf), given its CPUID table: present rows, absent subleaves, absent leaves. */
import { type CpuidRow, CpuidTable, REGISTERS } from '../../corpora/cpuid.js';
import type { VcpuObservation } from '../../corpora/observation.js';

/** The four registers of an answer. */
export type CpuidAnswer = Pick<CpuidRow, 'eax' | 'ebx' | 'ecx' | 'edx'>;

/** Who answers: KVM (Linux arch/x86/kvm/cpuid.c, `kvm_cpuid`) or QEMU's TCG (target/i386/cpu.c, `cpu_x86_cpuid`). */
export type CpuidAnswerer = 'kvm' | 'tcg';

const ZEROS: CpuidAnswer = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** Vendors whose absent leaves read zeros, by EBX of leaf 0: AuthenticAMD, AMDisbetter!, HygonGenuine. */
const ZERO_VENDORS = new Set([0x68747541, 0x69444d41, 0x6f677948]);

/** The answer to CPUID with EAX = `leaf` and ECX = `subleaf` (0 where the leaf has none). */
export function expectedAnswer(
  table: CpuidTable,
  leaf: number,
  subleaf: number | null,
  answerer: CpuidAnswerer,
): CpuidAnswer {
  const index = subleaf ?? 0;
  const exact = rowAt(table, leaf, index);
  if (exact) return exact;
  const redirected = isAbsent(table, leaf, answerer) ? (table.get(0)?.eax ?? 0) : leaf;
  return rowAt(table, redirected, index) ?? missingSubleaf(table, redirected, index);
}

/** A row without subleaf answers every ECX. */
const rowAt = (table: CpuidTable, leaf: number, index: number): CpuidRow | undefined =>
  table.get(leaf, index) ?? table.get(leaf, null);

/**
 * True where the leaf lies beyond the maximum of its range and reads as the highest basic leaf, at the same ECX. KVM finds the
 * maximum in the table and leaves AMD's and Hygon's guests with zeros; TCG does it for every vendor.
 */
function isAbsent(table: CpuidTable, leaf: number, answerer: CpuidAnswerer): boolean {
  if (answerer === 'kvm' && ZERO_VENDORS.has(table.value(0, null, 'ebx'))) return false;
  const base = rangeBase(leaf, answerer);
  // TCG's hypervisor range has two leaves whether they say so or not.
  if (answerer === 'tcg' && base === 0x40000000) return leaf > 0x40000001;
  return leaf > (table.get(base)?.eax ?? -1);
}

/** The leaf that holds the maximum of a leaf's range. Hypervisor ranges lie 0x100 apart (KVM's beside Hyper-V's). */
export function rangeBase(leaf: number, answerer: CpuidAnswerer): number {
  if (leaf >= 0xc0000000) return 0xc0000000;
  if (leaf >= 0x80000000) return 0x80000000;
  if (leaf < 0x40000000) return 0;
  return answerer === 'kvm' && leaf < 0x50000000 ? (leaf & 0xffffff00) >>> 0 : 0x40000000;
}

/** Zeros, but for the topology leaves: where subleaf 1 exists, an absent subleaf returns CL and the x2APIC id. */
function missingSubleaf(table: CpuidTable, leaf: number, index: number): CpuidAnswer {
  const topology = leaf === 0xb || leaf === 0x1f ? table.get(leaf, 1) : undefined;
  return topology ? { ...ZEROS, ecx: index & 0xff, edx: topology.edx } : ZEROS;
}

/**
 * The table behind a dump: without the answers beyond a maximum that are only echoes of the highest basic leaf. What follows other state must
 * be recomputed in that leaf, and not in its echo, which may look like another leaf's.
 */
export function tableShown({ cpuid }: Pick<VcpuObservation, 'cpuid'>, answerer: CpuidAnswerer): CpuidTable {
  const all = new CpuidTable(cpuid);
  const within = (row: CpuidRow): boolean => row.leaf <= all.value(rangeBase(row.leaf, answerer), null, 'eax');
  const core = new CpuidTable(all.rows.filter(within));
  const isEcho = (row: CpuidRow): boolean => {
    const echo = expectedAnswer(core, row.leaf, row.subleaf, answerer);
    return REGISTERS.every((register) => echo[register] === row[register]);
  };
  return new CpuidTable(all.rows.filter((row) => within(row) || !isEcho(row)));
}
