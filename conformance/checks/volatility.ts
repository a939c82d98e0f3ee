/** Every volatility entry matches something: one that matches nothing is a misspelt exception; and every MSR is of one class. */
import { fieldName } from '../../corpora/cpuid.js';
import { msrDictionary, msrIndices, msrLabel } from '../../corpora/msrs.js';
import { parseSmp } from '../../corpora/smp.js';
import { loadUnderQemu, unmatchedUnderQemu } from '../../corpora/volatility/under-qemu.js';
import { loadVolatility, unmatchedEntries } from '../../corpora/volatility/volatility.js';
import { listModels, resolve } from '../../reference-vmm/cpu-model/resolve.js';
import type { Check } from './check.js';

/** The machine type whose models have most of what there is. */
const MACHINE = 'pc-next';
/** No model there has vmx by itself; this one has all of its MSRs with it. */
const NESTING = 'Cascadelake-Server,+vmx,+vmx-eptp-switching';

export const volatilityMatches: Check = {
  name: 'every volatility entry matches a field of some model, and every MSR is of one class',
  run: () => {
    const models = listModels(MACHINE).map(({ name }) => name);
    const under = (accelerator: 'kvm' | 'tcg') =>
      [...models.filter((name) => name !== 'host' && name !== 'max'), NESTING].map((cpu) =>
        resolve({ machine: MACHINE, cpu, smp: parseSmp('8c4t2'), accelerator }),
      );
    const identities = { kvm: under('kvm'), tcg: under('tcg') };
    const tables = identities.kvm.flatMap(({ vcpus }) => vcpus.map(({ cpuid }) => cpuid));
    return [
      ...unmatchedEntries(loadVolatility(), tables).map((entry) => `CPUID ${fieldName(entry)}: no table has it`),
      ...unmatchedUnderQemu(loadUnderQemu(), identities).map((msr) => `${msr}: no CPU shows anything else without it`),
      ...twoClasses(),
    ];
  },
};

/** An MSR that is of one class for some CPUs and of another for others could not be judged by its index. */
function twoClasses(): string[] {
  const classes = new Map<number, Set<string>>();
  for (const msr of msrDictionary())
    for (const index of msrIndices(msr))
      classes.set(index, new Set([...(classes.get(index) ?? []), msr.volatility.class]));
  return [...classes].filter(([, kinds]) => kinds.size > 1).map(([index]) => `${msrLabel(index)} is of two classes`);
}
