/** CPUID fields that follow the vCPU's state: recomputed from it, so that nothing has to be masked in a comparison. */
import { type CpuidRow, CpuidTable } from '../../corpora/cpuid.js';

/** The state that CPUID answers depend on. */
export interface DerivingState {
  readonly cr4: bigint;
  readonly xcr0: bigint;
  readonly xss: bigint;
  readonly apicBase: bigint;
}

/** A vCPU that has not run: SDM vol. 3A table 9-1 (XCR0 = x87 only), APIC on. */
export const POWER_ON: DerivingState = { cr4: 0n, xcr0: 1n, xss: 0n, apicBase: 0xfee00900n };

const CR4_OSXSAVE = 1n << 18n;
const CR4_PKE = 1n << 22n;
const APIC_BASE_ENABLE = 1n << 11n;
const XSAVE = 1 << 26;
const OSXSAVE = 1 << 27;
const APIC = 1 << 9;
const PKU = 1 << 3;
const OSPKE = 1 << 4;
const XSAVEC_OR_XSAVES = (1 << 1) | (1 << 3);
/** The legacy region and the header of an XSAVE area: SDM vol. 1, 13.4. */
const XSAVE_FIXED_BYTES = 576;

const withBit = (value: number, bit: number, on: boolean): number => (on ? value | bit : value & ~bit) >>> 0;

/**
 * What a guest in `state` reads where it was given `table`: the fields that hardware and KVM compute (SDM vol. 2A, CPUID; Linux
 * arch/x86/kvm/cpuid.c, `kvm_update_cpuid_runtime`): 1.ECX[27], 1.EDX[9], 7.0.ECX[4], D.0.EBX, D.1.EBX. All else is as in `table`.
 */
export function derivedTable(table: CpuidTable, state: DerivingState): CpuidTable {
  return new CpuidTable(table.rows.map((row) => derivedRow(row, table, state)));
}

function derivedRow(row: CpuidRow, table: CpuidTable, { cr4, xcr0, xss, apicBase }: DerivingState): CpuidRow {
  if (row.leaf === 1) {
    const ecx = row.ecx & XSAVE ? withBit(row.ecx, OSXSAVE, (cr4 & CR4_OSXSAVE) !== 0n) : row.ecx;
    const edx = row.edx & APIC ? withBit(row.edx, APIC, (apicBase & APIC_BASE_ENABLE) !== 0n) : row.edx;
    return { ...row, ecx, edx };
  }
  if (row.leaf === 7 && row.subleaf === 0 && row.ecx & PKU)
    return { ...row, ecx: withBit(row.ecx, OSPKE, (cr4 & CR4_PKE) !== 0n) };
  if (row.leaf === 0xd && row.subleaf === 0) return { ...row, ebx: xsaveBytes(table, xcr0) };
  if (row.leaf === 0xd && row.subleaf === 1 && row.eax & XSAVEC_OR_XSAVES)
    return { ...row, ebx: compactedXsaveBytes(table, xcr0 | xss) };
  return row;
}

/** Rows of the components of `mask` beyond x87 and SSE. */
const componentsOf = (table: CpuidTable, mask: bigint): CpuidRow[] =>
  table.rows.filter(
    ({ leaf, subleaf }) => leaf === 0xd && subleaf !== null && subleaf >= 2 && (mask >> BigInt(subleaf)) & 1n,
  );

/** Size of the standard XSAVE area of these components: SDM vol. 1, 13.4.3. */
const xsaveBytes = (table: CpuidTable, mask: bigint): number =>
  componentsOf(table, mask).reduce((end, { eax, ebx }) => Math.max(end, eax + ebx), XSAVE_FIXED_BYTES);

/** Size of the compacted one; ECX[1] aligns a component to 64 bytes. */
const compactedXsaveBytes = (table: CpuidTable, mask: bigint): number =>
  componentsOf(table, mask).reduce(
    (end, { eax, ecx }) => (ecx & 2 ? Math.ceil(end / 64) * 64 : end) + eax,
    XSAVE_FIXED_BYTES,
  );
