/** Evidence is of every vCPU: one that shows something else, or nothing, is named whichever it is. */
import t from 'tap';
import { loadVolatility } from '../../../corpora/volatility/volatility.js';
import { resolve } from '../../../reference-vmm/cpu-model/resolve.js';
import { RESET_STATE, simulateVcpu } from '../../oracle/simulate.js';
import { differencesOf } from './evidence.js';

void t.test('a vCPU that is not the first', async (t) => {
  const { vcpus } = resolve({ machine: 'pc-q35-5.2', cpu: 'Nehalem', smp: '8c4t2', accelerator: 'tcg' });
  const seen = vcpus.map(({ index, cpuid }) => simulateVcpu(cpuid, { ...RESET_STATE, index }, loadVolatility(), 'tcg'));
  const of = (dumps: typeof seen) => differencesOf({ kind: 'observed', vcpus: dumps, withheld: [] }, vcpus);
  t.same(of(seen), []);
  const cpuid = seen[5]!.cpuid.map((row) => (row.leaf === 0x80000001 ? { ...row, edx: row.edx ^ 1 } : row));
  t.match(of(seen.with(5, { ...seen[5]!, cpuid })), [{ vcpu: 5, leaf: '0x80000001', register: 'edx', bit: 0 }]);
  t.match(of(seen.toSpliced(7, 1)), [{ vcpu: 7, code: 'vcpu-not-observed' }]);
});
