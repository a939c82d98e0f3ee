/** `freeze`: contracts of machine types that have none yet. */
import { mkdirSync } from 'node:fs';
import { contractText } from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import { InputError, unknownName } from '../../corpora/errors.js';
import { msrContractText } from '../../corpora/msr-contracts.js';
import { packageFile } from '../../corpora/package-root.js';
import { listModels } from '../../reference-vmm/cpu-model/resolve.js';
import { freezeMachines } from '../contracts/freeze.js';
import { freezeMsrsOf } from '../contracts/freeze-msrs.js';
import { writeChanged } from '../import/write-definitions.js';
import { outFolder } from './import-qemu.js';
import { anyGlob, globMatcher } from './options.js';
import { type CommonOptions, print, printJson, warn } from './output.js';
import { definitionsOf } from './pairs.js';
import type { SeenTables } from './qemu-tables.js';
import { qemuNamed } from './subjects.js';

export interface FreezeOptions extends CommonOptions {
  readonly machine: readonly string[];
  readonly cpu?: readonly string[];
  readonly out?: string;
  /** `qemu:BINARY`: whose guests must see what is frozen. */
  readonly from?: string;
  readonly jobs?: number;
}

/**
 * Writes what the resolver gives, as contracts. What is frozen already stays, or freezing is refused; so it is where a QEMU was named and one of its
 * guests sees something else.
 */
export async function freezeContracts(options: FreezeOptions): Promise<void> {
  const definitions = definitionsOf(options.corpora);
  const seen = options.from === undefined ? null : await seenBy(options.from, options, definitions);
  const machines = seen?.machines ?? options.machine.map((name) => promising(name, definitions));
  const wanted = modelFilter(machines, options.cpu, definitions);
  const tables = [...freezeMachines(machines, definitions, seen ? [seen] : [], wanted)];
  const msrs = [...freezeMsrsOf(machines, definitions, wanted)];
  const files = new Map([
    ...tables.map(([model, file]) => [`contracts/${model}.json`, contractText(file)] as const),
    ...msrs.map(([model, file]) => [`msr-contracts/${model}.json`, msrContractText(file)] as const),
  ]);
  const out = outFolder(options);
  // `--corpora` takes the folder afterwards, also where all stands frozen elsewhere.
  mkdirSync(out, { recursive: true });
  const { added, changed, same } = writeChanged(files, [packageFile('corpora'), ...(options.corpora ?? [])], out);
  if (options.json) printJson('freeze', { machines, out, added, changed, same });
  else if (!added.length && !changed.length) print(`${machines.join(', ')}: frozen already, nothing to write`);
  else {
    const lines = [...added.map((path) => `  new    ${path}`), ...changed.map((path) => `  grown  ${path}`)];
    print([`${machines.join(', ')}: ${lines.length} contract files written to ${out}`, ...lines].join('\n'));
  }
}

/** Throws `InputError` where a glob names no model. */
function modelFilter(
  machines: readonly string[],
  globs: readonly string[] = ['*'],
  definitions: Definitions,
): (model: string) => boolean {
  const names = machines.flatMap((machine) => listModels(machine, definitions).map(({ name }) => name));
  for (const glob of globs) if (!names.some(globMatcher(glob))) throw unknownName('CPU model', glob, names);
  return anyGlob(globs);
}

/** Boots all pairs under the QEMU. Throws `InputError` `not-what-qemu-shows` where a guest sees otherwise than its pair resolves. */
async function seenBy(
  from: string,
  { machine, cpu = ['*'], jobs = 2 }: FreezeOptions,
  definitions: Definitions,
): Promise<SeenTables> {
  const { differenceLines, seeTables, seenText } = await import('./qemu-tables.js');
  const launcher = await qemuNamed(from);
  const seen = await seeTables(launcher, { machines: machine, models: cpu }, definitions, jobs);
  for (const name of seen.machines) promising(name, definitions);
  warn(seenText(seen));
  const [first, ...more] = differenceLines(seen);
  if (first === undefined) return seen;
  for (const line of [first, ...more]) warn(line);
  throw new InputError(
    'not-what-qemu-shows',
    `nothing is frozen: ${from} shows ${1 + more.length} guests something else than the definitions say; import qemu --binary first`,
    { given: from },
  );
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
