/** The files that a pair is resolved from, to go with a bundle: who reads it need not have the same definitions. */
import { readFileSync } from 'node:fs';
import type { ContractFile } from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import { parsePair } from '../../corpora/pair.js';
import type { BundleFiles } from './bundle.js';

/** By path below a corpora folder: the machine type with all newer ones, the model, the indexes, and of the contract the pair's own table. */
export function pairDefinitions(pair: string, definitions: Definitions): BundleFiles {
  const { machine, cpu } = parsePair(pair);
  const files: Record<string, string> = {
    'cpu-models/index.json': json(definitions.modelIndex),
    'machine-types/index.json': json(definitions.machineIndex),
  };
  const copy = (path: string): void => {
    const file = definitions.fileOf(path);
    if (file !== undefined) files[path] = readFileSync(file, 'utf8');
  };
  for (let name: string | null = machine; name !== null; ) {
    const definition = definitions.machine(name);
    copy(`machine-types/${definition.name}.json`);
    name = definition.newer;
  }
  const { models, aliases } = definitions.modelIndex;
  const versioned = aliases[cpu.model] ?? cpu.model;
  const base = models[versioned] ? versioned : versioned.replace(/-v\d+$/, '');
  if (models[base]) copy(`cpu-models/${models[base]}`);
  const contract = definitions.contracts(cpu.model) as ContractFile | undefined;
  if (contract) {
    const name = definitions.machineIndex.aliases[machine] ?? machine;
    const tables = contract.tables
      .filter(({ pairs }) => pairs[cpu.model]?.includes(name))
      .map((table) => ({ ...table, pairs: { [cpu.model]: [name] } }));
    files[`contracts/${base}.json`] = json({ ...contract, tables, disagreements: [] });
  }
  return files;
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;
