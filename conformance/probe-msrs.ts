/** The MSRs that a probe reads: all whose volatility is known, and the constants that guests decide by. */
import { loadVolatility } from '../corpora/volatility/volatility.js';

/** IA32_APIC_BASE, IA32_BIOS_SIGN_ID (microcode revision), MTRRcap, PAT, MTRRdefType, EFER. */
const CONSTANTS = [0x1b, 0x8b, 0xfe, 0x277, 0x2ff, 0xc0000080];

export const probeMsrs = (): number[] => [
  ...CONSTANTS,
  ...loadVolatility().msrs.flatMap(({ msr, count }) => Array.from({ length: count }, (_, i) => msr + i)),
];
