/** What a probe would see of a vCPU that shows its table faithfully: for tests of the oracle, and for recorded hosts. */
import type { CpuidTable } from '../../corpora/cpuid.js';
import type { VcpuObservation } from '../../corpora/observation.js';
import type { Volatility } from '../../corpora/volatility/volatility.js';
import { sweepCpuid } from '../../guest-probes/sweep.js';
import { withDerivedBits } from './derived-bits.js';
import { type CpuidAnswerer, expectedAnswer } from './expected-cpuid.js';

/** The dump of a vCPU with this table, in the given state; `shows`: what a CPU that does wrong makes of it. */
export function simulateVcpu(
  table: CpuidTable,
  state: Omit<VcpuObservation, 'cpuid' | 'apicId'>,
  volatility: Volatility,
  answerer: CpuidAnswerer,
  shows: (table: CpuidTable) => CpuidTable = (shown) => shown,
): VcpuObservation {
  const shown = shows(withDerivedBits(table, state, volatility, answerer));
  return {
    ...state,
    apicId: shown.value(1, null, 'ebx') >>> 24,
    cpuid: sweepCpuid((leaf, subleaf) => expectedAnswer(shown, leaf, subleaf, answerer)),
  };
}

/** A vCPU at reset, as multiboot and PVH start it. */
export const RESET_STATE: Omit<VcpuObservation, 'cpuid' | 'apicId'> = {
  ...{ index: 0, sequence: 0, cr0: 0x11, cr4: 0, efer: 0n, apicBase: 0xfee00900n, xss: '#GP', xcr0: null, msrs: [] },
};
