/**
 * CPUID bits that follow other state of the vCPU: recomputed from a dump, so that they can be compared and need no mask. Not
 * shared with the monitor's derived.ts: an oracle that computes with its subject's code repeats its subject's mistakes.
 */
import { type CpuidRow, CpuidTable } from '../../corpora/cpuid.js';
import type { FaultClass, VcpuObservation } from '../../corpora/observation.js';
import type { Volatility } from '../../corpora/volatility/volatility.js';
import type { CpuidAnswerer } from './expected-cpuid.js';

/** The state that derived bits follow. */
export type DerivingState = Pick<VcpuObservation, 'cr4' | 'xcr0' | 'xss' | 'apicBase' | 'msrs'>;

/** The bits, at their places in the register, or null where the table's own stand. */
type Rule = (row: CpuidRow, state: DerivingState, table: CpuidTable) => number | null;

const bit = (n: number): number => (1 << n) >>> 0;

/** A feature's enable bit shows where the CPU has the feature and CR4 enables it. */
const shownBy = (feature: number, enable: number, shown: number): Rule => {
  return (row, { cr4 }) => (row.ecx & bit(feature) && cr4 & bit(enable) ? bit(shown) : 0);
};

const XSAVEC_OR_XSAVES = bit(1) | bit(3);
const APIC_GLOBAL_ENABLE = 1n << 11n;
const IA32_TSX_CTRL = 0x122;

/** By the name that corpora/volatility gives them. */
export const DERIVED_RULES: Readonly<Record<string, Rule>> = {
  'apic-enabled': (_row, { apicBase }) => (typeof apicBase === 'bigint' && !(apicBase & APIC_GLOBAL_ENABLE) ? 0 : null),
  osxsave: shownBy(26, 18, 27),
  ospke: shownBy(3, 22, 4),
  'tsx-cpuid-clear': (_row, { msrs }) => {
    const control = msrs.find(({ index }) => index === IA32_TSX_CTRL);
    return control && 'value' in control && control.value & 2n ? 0 : null;
  },
  'xsave-size': (row, { xcr0 }, table) => (hasComponents(row) ? xsaveSize(table, componentsIn(xcr0), false) : null),
  'xsave-compacted-size': (row, { xcr0, xss }, table) =>
    row.eax & XSAVEC_OR_XSAVES ? xsaveSize(table, componentsIn(xcr0) | number(xss), true) : null,
};

/** TCG tells the size with every component of the CPU, whatever XCR0 holds (QEMU target/i386/cpu.c, cpu_x86_cpuid). */
const CONSTANT_UNDER_TCG: ReadonlySet<string> = new Set(['xsave-compacted-size']);

const number = (outcome: bigint | FaultClass): bigint => (typeof outcome === 'bigint' ? outcome : 0n);

/** XCR0 is 1 (x87) until the guest sets it (SDM vol. 1 13.3). */
const componentsIn = (xcr0: bigint | FaultClass | null): bigint => (typeof xcr0 === 'bigint' ? xcr0 : 1n);

/** A CPU without XSAVE may have an all-zero leaf 0xD. */
const hasComponents = (row: CpuidRow): boolean => (row.eax | row.edx) !== 0;

/** Bytes of the XSAVE area for `components`, by the sizes, offsets and alignments in the table (SDM vol. 1 13.4). */
function xsaveSize(table: CpuidTable, components: bigint, compacted: boolean): number {
  let size = 512 + 64;
  for (let i = 2; i < 63; i++) {
    const row = table.get(0xd, i);
    if (!row || !((components >> BigInt(i)) & 1n)) continue;
    const aligned = row.ecx & 2 ? (size + 63) & ~63 : size;
    size = Math.max(size, (compacted ? aligned : row.ebx) + row.eax);
  }
  return size;
}

/**
 * The table as a vCPU in this state shows it: every derived field recomputed, all else as it was. Throws `RangeError` on an entry
 * whose rule does not exist.
 */
export function withDerivedBits(
  table: CpuidTable,
  state: DerivingState,
  volatility: Volatility,
  answerer: CpuidAnswerer = 'kvm',
): CpuidTable {
  const rows = new Map(table.rows.map((row) => [row, row]));
  for (const entry of volatility.cpuid.filter((one) => one.class === 'derived')) {
    if (answerer === 'tcg' && CONSTANT_UNDER_TCG.has(entry.rule!)) continue;
    const original = table.get(entry.leaf, entry.subleaf);
    const rule = DERIVED_RULES[entry.rule!];
    if (!rule) throw new RangeError(`no rule ${entry.rule} for derived CPUID bits`);
    const bits = original && rule(original, state, table);
    if (!original || bits === null || bits === undefined) continue;
    const row = rows.get(original)!;
    rows.set(original, { ...row, [entry.register]: ((row[entry.register] & ~entry.bits) | bits) >>> 0 });
  }
  return new CpuidTable(rows.values());
}
