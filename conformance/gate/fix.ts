/** From changed pairs to the files that make the gate pass: compat properties first, restored files where those do not reach, contracts last. */
import {
  type ContractFile,
  contractText,
  emptyContract,
  type FrozenPair,
  freeze,
  frozenPairs,
} from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import {
  type FrozenMsrs,
  freezeMsrs,
  frozenMsrPairs,
  type MsrContractFile,
  msrContractText,
  msrTablesOf,
} from '../../corpora/msr-contracts.js';
import { msrEffects } from '../../reference-vmm/cpu-model/msr-effects.js';
import type { Causes } from './causes.js';
import { compareDefinitions, type PairChange, type PairFilter } from './compare-definitions.js';
import { ALL_CPUS, compatFix, type FixEntry, modelOfType, withMachines } from './compat-fix.js';
import { eachShape, ResolvedPair, type ResolvedPairs } from './resolved.js';
import { type FixedFile, machineFile, restoredFile } from './restore.js';

export interface Fix {
  readonly entries: readonly FixEntry[];
  /** Texts by path below the corpora folder. */
  readonly files: ReadonlyMap<string, string>;
  /** Pairs that stay changed with it: no definition is at fault. Empty where the gate passes. */
  readonly left: readonly PairChange[];
}

export interface FixInputs {
  readonly base: Definitions;
  readonly head: Definitions;
  readonly resolved: ResolvedPairs;
  readonly causes: Causes;
  readonly wanted: PairFilter;
}

/** Makes the fix and tries it: `left` is what the gate says of it. */
export function fixOf(changes: readonly PairChange[], inputs: FixInputs): Fix {
  const definitions = changes.filter(({ kind }) => kind === 'changed' || kind === 'removed');
  const pairs = definitions.filter((pair) => hasPair(pair, inputs));
  let fixed = fixedDefinitions(pairs, new Map(), inputs);
  let touched = touchedBy(fixed.entries, definitions);
  const wrong = comparedAgain(fixed.head, inputs, touched).filter(({ kind }) => !kind.startsWith('contract-'));
  if (wrong.length > 0) {
    const paths = new Set(wrong.flatMap((change) => inputs.causes.editedFiles(change)));
    const restored = [...paths].filter((path) => inputs.base.fileOf(path) !== undefined);
    const files = new Map(restored.map((path) => [path, restoredFile(path, inputs.base, inputs.head)] as const));
    fixed = fixedDefinitions(definitions, files, inputs);
    touched = inputs.wanted;
  }
  const contracts = fixedContracts(changes, fixed.head, inputs);
  const head = fixed.head.changed([...contracts].map(([path, { value }]) => [path, value]));
  const texts = [...fixed.files, ...contracts].map(([path, { text }]) => [path, text] as const);
  const mended = new Set(contracts.keys());
  const either: PairFilter = (pair) =>
    touched(pair) || mended.has(`contracts/${inputs.causes.contractFile(pair)}.json`);
  return { entries: fixed.entries, files: new Map(texts), left: comparedAgain(head, inputs, either) };
}

const hasPair = (pair: PairChange, { base, head, resolved }: FixInputs): boolean =>
  resolved.of(pair, base) instanceof ResolvedPair && resolved.of(pair, head) instanceof ResolvedPair;

/** Compat properties over files that are restored. */
function fixedDefinitions(
  pairs: readonly PairChange[],
  restored: ReadonlyMap<string, FixedFile>,
  { base, head, resolved }: FixInputs,
): { head: Definitions; files: Map<string, FixedFile>; entries: readonly FixEntry[] } {
  const ground = head.changed([...restored].map(([path, { value }]) => [path, value]));
  const both = pairs.filter((pair) => [base, ground].every((side) => resolved.of(pair, side) instanceof ResolvedPair));
  const { machines, entries } = compatFix(both, base, ground);
  const own = [...machines].map(([name, machine]) => [`machine-types/${name}.json`, machineFile(machine)] as const);
  return { head: withMachines(ground, machines), files: new Map([...restored, ...own]), entries };
}

/** A compat property concerns the models of its type and no others. */
function touchedBy(entries: readonly FixEntry[], changes: readonly PairChange[]): PairFilter {
  if (entries.some(({ entry }) => entry.type === ALL_CPUS)) return () => true;
  const models = new Set([
    ...entries.map(({ entry }) => modelOfType(entry.type)),
    ...changes.map(({ model }) => model),
  ]);
  return ({ model }) => models.has(model);
}

const comparedAgain = (
  head: Definitions,
  { base, resolved, wanted }: FixInputs,
  touched: PairFilter,
): readonly PairChange[] => compareDefinitions(base, head, resolved, (pair) => wanted(pair) && touched(pair)).changes;

/** Frozen tables as the base has them, and new pairs as the mended definitions resolve them. */
function fixedContracts(
  changes: readonly PairChange[],
  head: Definitions,
  { base, head: edited, resolved, causes }: FixInputs,
): Map<string, FixedFile> {
  const files = new Map<string, FixedFile>();
  const names = new Set(
    changes.filter(({ kind }) => kind.startsWith('contract-')).map((change) => causes.contractFile(change)),
  );
  for (const name of names) {
    const before = (base.contracts(name) as ContractFile | undefined) ?? emptyContract(name);
    const known = new Set([...frozenPairs(before)].map(({ machine, model }) => `${machine}/${model}`));
    const now = (edited.contracts(name) as ContractFile | undefined) ?? before;
    const added = [...frozenPairs(now)].filter(({ machine, model }) => !known.has(`${machine}/${model}`));
    const value = freeze(
      before,
      added.flatMap(({ machine, model, table }): FrozenPair[] => {
        const pair = resolved.of({ machine, model }, head);
        if (!(pair instanceof ResolvedPair)) return [];
        const wrong = changes.some((one) => one.machine === machine && one.model === model);
        const evidence = eachShape((smp) => (wrong ? [] : table.smp[smp].evidence));
        return [{ machine, model, shapes: pair.tables, evidence }];
      }),
    );
    files.set(`contracts/${name}.json`, { value, text: contractText(value) });
    const msrs = fixedMsrs(name, head, { base, head: edited, resolved });
    if (msrs) files.set(`msr-contracts/${name}.json`, { value: msrs, text: msrContractText(msrs) });
  }
  return files;
}

/** Likewise the frozen MSRs; null where there are none. */
function fixedMsrs(
  name: string,
  mended: Definitions,
  { base, head, resolved }: Pick<FixInputs, 'base' | 'head' | 'resolved'>,
): MsrContractFile | null {
  const before = base.msrContracts(name) as MsrContractFile | undefined;
  const now = head.msrContracts(name) as MsrContractFile | undefined;
  const start = before ?? (now && { ...now, tables: [], writes: [] });
  if (!start) return null;
  const frozen = (now ? frozenMsrPairs(now) : []).flatMap((pair): FrozenMsrs[] => {
    const one = msrTablesOf(before, pair).values ? null : resolved.of(pair, mended);
    if (!(one instanceof ResolvedPair)) return [];
    const identity = one.identities['1'];
    return [{ ...pair, msrs: identity.msrs, effects: msrEffects(identity) }];
  });
  return frozen.length > 0 ? freezeMsrs(start, frozen) : start;
}
