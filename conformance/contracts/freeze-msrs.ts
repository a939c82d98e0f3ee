/** Writes MSR contracts: what the vCPUs of a machine type's models read of their MSRs and what writes to these do, added to what is frozen already. */
import type { Definitions } from '../../corpora/definitions.js';
import { freezeMsrs, type MsrContractFile } from '../../corpora/msr-contracts.js';
import { msrEffects } from '../../reference-vmm/cpu-model/msr-effects.js';
import { listModels, resolve } from '../../reference-vmm/cpu-model/resolve.js';

/** MSR contract files, by model, after freezing machine types, in the order given. Throws `InputError` (`contract-exists`) where a frozen value would change. */
export function freezeMsrsOf(
  machines: readonly string[],
  definitions: Definitions,
  wanted: (model: string) => boolean = () => true,
): Map<string, MsrContractFile> {
  const files = new Map<string, MsrContractFile>();
  for (const machine of machines)
    for (const { name, version } of listModels(machine, definitions).filter((one) => wanted(one.name))) {
      const model = version.replace(/-v\d+$/, '');
      const before = files.get(model) ?? (definitions.msrContracts(model) as MsrContractFile | undefined);
      const file = before ?? { schema: 'guest-abi/msr-contract/1', model, tables: [] };
      const identity = resolve({ machine, cpu: name, definitions });
      const frozen = { model: name, machine, msrs: identity.msrs, effects: msrEffects(identity) };
      files.set(model, freezeMsrs(file, [frozen]));
    }
  return files;
}
