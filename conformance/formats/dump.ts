/** What any format says of CPUs: one value in the middle of every conversion and comparison. */
import { type CpuidRow, CpuidTable, isIndexedLeaf, REGISTERS, type Register } from '../../corpora/cpuid.js';
import type { FaultClass } from '../../corpora/observation.js';

/** An MSR with the bits of it that are pinned (unpinned ones are 0 in `value`), or the fault that reading it raised. */
export type DumpedMsr =
  | { readonly index: number; readonly value: bigint; readonly mask: bigint }
  | { readonly index: number; readonly fault: FaultClass };

export interface DumpedCpu {
  readonly index: number;
  /** Unpinned bits are 0. */
  readonly cpuid: CpuidTable;
  /** The pinned bits of each row of `cpuid`; null where all bits of all rows are. */
  readonly mask: CpuidTable | null;
  /** Sorted by index, each index once. */
  readonly msrs: readonly DumpedMsr[];
}

/** What it means where a row, a bit or an MSR is not there. */
export interface Absent {
  /**
   * `answered`: the rows are a table that KVM is given, and it answers for the others by its rules; `none`: the row was not there to dump;
   * `zero`: a basic or extended leaf was all zeros, others are open; `zeroed`: as `zero`, because a profile makes it so, whose open bits are the
   * host's; `host`: it stays as the host has it; `open`: nothing is said of it.
   */
  readonly row: (typeof ABSENT_ROWS)[number];
  /**
   * `none`: reading it faults; `scanned`: that is so in the ranges of `SCANNED_MSRS` alone; `listed`: it is not in a list that leaves out some on
   * purpose, so that only another such list can be held against it; `default`: it has the value that the host or a reset gives it; `open`:
   * nothing is said of it.
   */
  readonly msr: (typeof ABSENT_MSRS)[number];
}

export const ABSENT_ROWS = ['answered', 'none', 'zero', 'zeroed', 'host', 'open'] as const;
export const ABSENT_MSRS = ['none', 'scanned', 'listed', 'default', 'open'] as const;

/** What the msr_reader of Firecracker's test guests reads, first and last. */
export const SCANNED_MSRS: readonly (readonly [number, number])[] = [
  [0x0, 0xfff],
  [0x10000, 0x10fff],
  [0xc0000000, 0xc0011030],
];

export const POLICIES = ['force', 'require', 'optional', 'disable', 'forbid'] as const;
export type Policy = (typeof POLICIES)[number];

export interface NamedFeature {
  /** As libvirt writes it. */
  readonly name: string;
  readonly policy: Policy;
}

/** A model that a hypervisor offers (libvirt's domain capabilities). */
export interface OfferedModel {
  readonly name: string;
  /** `yes`, `no` or `unknown`. */
  readonly usable: string;
  readonly vendor: string | null;
  /** The versioned model that this name stands for, which another release may change. */
  readonly canonical: string | null;
  /** Features that keep it from being usable. */
  readonly blockers: readonly string[];
}

/** A CPU described in names. */
export interface NamedCpu {
  /** libvirt's: `custom`, `host-model`, `host-passthrough`, `maximum`. */
  readonly mode: string;
  readonly model: string | null;
  readonly vendor: string | null;
  readonly features: readonly NamedFeature[];
  readonly offered: readonly OfferedModel[];
}

export interface CpuDump {
  readonly cpus: readonly DumpedCpu[];
  readonly absent: Absent;
  readonly named: NamedCpu | null;
  /** What a file says beside that, by the file's own keys, e.g. `microcode_version`. */
  readonly facts: Readonly<Record<string, string>>;
}

/** True for two dumps in which what is not there means the same: files of one kind. */
export const sameKind = (a: CpuDump, b: CpuDump): boolean =>
  a.absent.row === b.absent.row && a.absent.msr === b.absent.msr;

const ALL = 0xffffffff;

/** The pinned bits of one register of a row that the CPU has. */
export const pinnedBits = (cpu: DumpedCpu, row: CpuidRow, register: Register): number =>
  cpu.mask ? cpu.mask.value(row.leaf, row.subleaf, register) : ALL;

/** True where every bit of a row is pinned. */
export const isWhole = (cpu: DumpedCpu, row: CpuidRow): boolean =>
  REGISTERS.every((register) => pinnedBits(cpu, row, register) === ALL);

/**
 * A CPU from rows and their pinned bits; `mask` becomes null where all bits are pinned. Rows without a pinned bit vanish, unless they `stay`
 * because it means something else where they are not there.
 */
export function maskedCpu(
  index: number,
  rows: readonly { readonly row: CpuidRow; readonly mask: CpuidRow }[],
  msrs: readonly DumpedMsr[],
  open: 'vanish' | 'stay' = 'vanish',
): DumpedCpu {
  const kept = rows.filter(({ mask }) => open === 'stay' || REGISTERS.some((register) => mask[register] !== 0));
  const whole = kept.every(({ mask }) => REGISTERS.every((register) => mask[register] === ALL));
  return {
    index,
    cpuid: new CpuidTable(kept.map(({ row, mask }) => mapRegisters(row, (value, r) => (value & mask[r]) >>> 0))),
    mask: whole ? null : new CpuidTable(kept.map(({ mask }) => mask)),
    msrs: [...msrs].sort((a, b) => a.index - b.index),
  };
}

/** A row with each register changed. */
export const mapRegisters = (row: CpuidRow, change: (value: number, register: Register) => number): CpuidRow => ({
  leaf: row.leaf,
  subleaf: row.subleaf,
  eax: change(row.eax, 'eax'),
  ebx: change(row.ebx, 'ebx'),
  ecx: change(row.ecx, 'ecx'),
  edx: change(row.edx, 'edx'),
});

/**
 * The subleaf that a format means which writes a number everywhere: 0 of a leaf that ignores ECX is no subleaf.
 */
export const subleafOf = (leaf: number, written: number): number | null =>
  written === 0 && !isIndexedLeaf(leaf) ? null : written;

/** A dump of CPUs alone. */
export const dumpOf = (cpus: readonly DumpedCpu[], absent: Absent, facts: CpuDump['facts'] = {}): CpuDump => ({
  cpus,
  absent,
  named: null,
  facts,
});
