/** What two emulators are known to answer differently is taken out where a guest saw exactly that, and nowhere else. */
import t from 'tap';
import type { CpuidRow } from '../../../corpora/cpuid.js';
import type { VcpuObservation } from '../../../corpora/observation.js';
import { loadVolatility } from '../../../corpora/volatility/volatility.js';
import { resolve } from '../../../reference-vmm/cpu-model/resolve.js';
import { RESET_STATE, simulateVcpu } from '../../oracle/simulate.js';
import { emulatorOf, underEmulator } from './emulator.js';

/** 10.0 gives AVX-512 no state, 7.2 did: three bits of D.0.EAX. */
const under = (emulator: string) =>
  resolve({ machine: 'pc-q35-5.2', cpu: 'Skylake-Server', accelerator: 'tcg', emulator }).vcpus[0]!;
const [ours, theirs] = [under('7.2'), under('10.0')];

const dump = ({ cpuid }: typeof ours): VcpuObservation => simulateVcpu(cpuid, RESET_STATE, loadVolatility(), 'tcg');
const isMask = ({ leaf, subleaf }: CpuidRow): boolean => leaf === 0xd && subleaf === 0;
const maskIn = ({ cpuid }: VcpuObservation): number => cpuid.find(isMask)!.eax;
const shown = (mask: number): number => {
  const seen = dump(theirs);
  const cpuid = seen.cpuid.map((row) => (isMask(row) ? { ...row, eax: mask } : row));
  return maskIn(underEmulator({ ...seen, cpuid }, ours, theirs, 'tcg'));
};

void t.test('a guest of the newer emulator is shown as the older one would', async (t) => {
  const [before, after] = [dump(ours), dump(theirs)].map(maskIn) as [number, number];
  t.not(before, after);
  t.equal(shown(after), before);
});

void t.test('what neither is known to show stays as it was seen', async (t) => {
  const [before, after] = [dump(ours), dump(theirs)].map(maskIn) as [number, number];
  for (let bit = 0; bit < 12; bit++) {
    const mask = after ^ (1 << bit);
    // A bit that both have alike is kept as seen beside the others; of those that differ none is taken for known alone.
    const known = before ^ after;
    t.equal(shown(mask), known & (1 << bit) ? mask : before ^ (1 << bit), `bit ${bit}`);
  }
});

void t.test('the emulator of a version is the newest known release that is not newer', async (t) => {
  t.same(['4.2.0', '5.2.0', '6.1.1', '7.2.22', '9.2.0', '10.0.13', '12.0.0'].map(emulatorOf), [
    '5.2',
    '5.2',
    '5.2',
    '7.2',
    '7.2',
    '10.0',
    '11.1',
  ]);
});
