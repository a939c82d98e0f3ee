/** Generated pairs: any machine type, any of its models, any features switched on and off. */
import fc from 'fast-check';
import { featureDictionary } from '../../corpora/features.js';
import { isOpen } from '../../reference-vmm/cpu-model/msrs.js';
import { listMachines, listModels } from '../../reference-vmm/cpu-model/resolve.js';

/** A pair as two texts, for `resolve`. */
export interface GeneratedPair {
  readonly machine: string;
  readonly cpu: string;
}

const feature = fc.constantFrom(...featureDictionary().names());
const override = fc.tuple(fc.constantFrom('+', '-'), feature).map(([sign, name]) => `,${sign}${name}`);

/** Pairs whose identity follows from the pair alone. */
export const closedPair: fc.Arbitrary<GeneratedPair> = fc
  .constantFrom(...listMachines().map(({ name }) => name))
  .chain((machine) => {
    const models = listModels(machine).map(({ name }) => name);
    const closed = models.filter((cpuModel) => !isOpen({ machine, cpuModel }));
    return fc
      .tuple(fc.constantFrom(...(closed.length > 0 ? closed : models)), fc.array(override, { maxLength: 5 }))
      .map(([model, overrides]) => ({ machine, cpu: model + overrides.join('') }));
  });
