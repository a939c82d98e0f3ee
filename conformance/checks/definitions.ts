/** Definitions stand in canonical form: a diff of them shows what changed and nothing else. */
import { readFileSync } from 'node:fs';
import { builtInDefinitions } from '../../corpora/definitions.js';
import { packageFile } from '../../corpora/package-root.js';
import { canonicalMachine, canonicalModel } from '../import/files.js';
import type { Check } from './check.js';

export const definitionsAreCanonical: Check = {
  name: 'definitions are in canonical form',
  run: () => {
    const definitions = builtInDefinitions();
    const models = Object.entries(definitions.modelIndex.models).map(
      ([name, file]) => [`cpu-models/${file}`, canonicalModel(definitions.model(name))] as const,
    );
    const machines = definitions.machineIndex.machines.map(
      (name) => [`machine-types/${name}.json`, canonicalMachine(definitions.machine(name))] as const,
    );
    return [...models, ...machines]
      .filter(([file, text]) => readFileSync(packageFile(`corpora/${file}`), 'utf8') !== text)
      .map(([file]) => `corpora/${file} is not in canonical form`);
  },
};
