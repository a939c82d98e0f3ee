/** `freeze`: contracts of machine types that have none yet. */
import { contractText } from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';
import { msrContractText } from '../../corpora/msr-contracts.js';
import { packageFile } from '../../corpora/package-root.js';
import { freezeMachines } from '../contracts/freeze.js';
import { freezeMsrsOf } from '../contracts/freeze-msrs.js';
import { writeChanged } from '../import/write-definitions.js';
import { outFolder } from './import-qemu.js';
import { type CommonOptions, print, printJson } from './output.js';
import { definitionsOf } from './pairs.js';

export interface FreezeOptions extends CommonOptions {
  readonly machine: readonly string[];
  readonly out?: string;
}

/** Writes what the resolver gives, as contracts. What is frozen already stays, or freezing is refused. */
export function freezeContracts(options: FreezeOptions): void {
  const definitions = definitionsOf(options.corpora);
  const machines = options.machine.map((name) => promising(name, definitions));
  const tables = [...freezeMachines(machines, definitions, [])];
  const msrs = [...freezeMsrsOf(machines, definitions)];
  const files = new Map([
    ...tables.map(([model, file]) => [`contracts/${model}.json`, contractText(file)] as const),
    ...msrs.map(([model, file]) => [`msr-contracts/${model}.json`, msrContractText(file)] as const),
  ]);
  const out = outFolder(options);
  const { added, changed, same } = writeChanged(files, [packageFile('corpora'), ...(options.corpora ?? [])], out);
  if (options.json) printJson('freeze', { machines, out, added, changed, same });
  else if (!added.length && !changed.length) print(`${machines.join(', ')}: frozen already, nothing to write`);
  else {
    const lines = [...added.map((path) => `  new    ${path}`), ...changed.map((path) => `  grown  ${path}`)];
    print([`${machines.join(', ')}: ${lines.length} contract files written to ${out}`, ...lines].join('\n'));
  }
}

/** The machine type's own name. Throws `InputError` where it promises nothing. */
function promising(name: string, definitions: Definitions): string {
  const machine = definitions.machine(name);
  if (machine.follows)
    throw new InputError('no-contract', `${machine.name} follows the newest machine type and promises nothing`, {
      given: name,
    });
  return machine.name;
}
