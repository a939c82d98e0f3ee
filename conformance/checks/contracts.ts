/** Contract files stand in canonical form, and no pair has two contracts. */
import { readdirSync, readFileSync } from 'node:fs';
import { type ContractFile, contractText } from '../../corpora/contracts.js';
import { type MsrContractFile, msrContractText } from '../../corpora/msr-contracts.js';
import { packageFile } from '../../corpora/package-root.js';
import type { Check } from './check.js';

export const contractsAreCanonical: Check = {
  name: 'contracts are in canonical form, each pair in one table',
  run: () =>
    readdirSync(packageFile('corpora/contracts')).flatMap((name) => {
      const text = readFileSync(packageFile(`corpora/contracts/${name}`), 'utf8');
      const file = JSON.parse(text) as ContractFile;
      const canonical = contractText(file) === text ? [] : [`corpora/contracts/${name} is not in canonical form`];
      return [...canonical, ...pairsInTwoTables(file).map((pair) => `${pair} has two contracts in ${name}`)];
    }),
};

export const msrContractsAreCanonical: Check = {
  name: 'MSR contracts are in canonical form, and of the models that have contracts',
  run: () => {
    const models = readdirSync(packageFile('corpora/contracts'));
    const own = readdirSync(packageFile('corpora/msr-contracts'));
    return [
      ...models.filter((name) => !own.includes(name)).map((name) => `${name} has no MSR contract`),
      ...own.flatMap((name) => {
        const text = readFileSync(packageFile(`corpora/msr-contracts/${name}`), 'utf8');
        const file = JSON.parse(text) as MsrContractFile;
        return msrContractText(file) === text ? [] : [`corpora/msr-contracts/${name} is not in canonical form`];
      }),
    ];
  },
};

function pairsInTwoTables({ tables }: ContractFile): string[] {
  const seen = new Set<string>();
  const twice: string[] = [];
  for (const { pairs } of tables) {
    for (const [model, machines] of Object.entries(pairs)) {
      for (const machine of machines) {
        const pair = `${machine}/${model}`;
        if (seen.has(pair)) twice.push(pair);
        seen.add(pair);
      }
    }
  }
  return twice;
}
