/** Every volatility entry matches something: one that matches nothing is a misspelt exception. */
import { fieldName } from '../../corpora/cpuid.js';
import { hex32 } from '../../corpora/hex.js';
import { parseSmp } from '../../corpora/smp.js';
import { loadVolatility, unmatchedEntries } from '../../corpora/volatility/volatility.js';
import { msrsOf } from '../../reference-vmm/cpu-model/msrs.js';
import { listModels, resolve } from '../../reference-vmm/cpu-model/resolve.js';
import type { Check } from './check.js';

/** The machine type whose models have most of what there is. */
const MACHINE = 'pc-next';
/** With every paravirtual MSR that no model has by itself. */
const PARAVIRTUAL =
  'qemu64,kvm-poll-control,kvm-asyncpf-int,kvm-asyncpf,kvm-msi-ext-dest-id,hv-relaxed,hv-vapic,hv-time,hv-vpindex,hv-runtime';

export const volatilityMatches: Check = {
  name: 'every volatility entry matches a field or an MSR of some model',
  run: () => {
    const models = listModels(MACHINE).map(({ name }) => name);
    const identities = [...models.filter((name) => name !== 'host' && name !== 'max'), PARAVIRTUAL].map((cpu) =>
      resolve({ machine: MACHINE, cpu, smp: parseSmp('8c4t2') }),
    );
    const tables = identities.flatMap(({ vcpus }) => vcpus.map(({ cpuid }) => cpuid));
    const msrs = new Set(identities.flatMap((identity) => msrsOf(identity).map(({ index }) => index)));
    return unmatchedEntries(loadVolatility(), tables, msrs).map((entry) =>
      'msr' in entry ? `MSR ${hex32(entry.msr)}: no model has it` : `CPUID ${fieldName(entry)}: no table has it`,
    );
  },
};
