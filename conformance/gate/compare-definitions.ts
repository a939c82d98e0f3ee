/** Every released pair before and after an edit of definitions: its frozen table against what it resolves to now. */
import { type ContractFile, type ContractTable, contractOfTable, frozenPairs } from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';
import { type Reason, reason } from '../../corpora/verdict.js';
import { DEFINITIONS, EDITED_CONTRACT } from '../../reference-vmm/cpu-model/differences.js';
import { listMachines, listModels } from '../../reference-vmm/cpu-model/resolve.js';
import { MsrComparison } from './compare-msrs.js';
import { tableDifferences } from './differences.js';
import { eachShape, keptByTwo, type PairName, type ResolvedPairs, type ShapeTables } from './resolved.js';
import type { ChangeKind } from './result.js';

/** One released pair that is not as it was. */
export interface PairChange extends PairName {
  readonly kind: ChangeKind;
  readonly reasons: readonly Reason[];
}

export interface DefinitionsComparison {
  readonly unchanged: number;
  /** By contract file: models of which nothing changed. */
  readonly held: readonly { readonly model: string; readonly pairs: number }[];
  readonly changes: readonly PairChange[];
  /** Pairs that resolve now and have no contract in the base. */
  readonly added: readonly PairName[];
}

/** Says which machine types and models are asked about. */
export type PairFilter = (pair: PairName) => boolean;

/** Contracts of the base against the definitions and contracts of the head. A pair is released where the base has a contract for it. */
export function compareDefinitions(
  base: Definitions,
  head: Definitions,
  resolved: ResolvedPairs,
  wanted: PairFilter = () => true,
): DefinitionsComparison {
  const compare = new Comparison(base, head, resolved);
  const changes: PairChange[] = [];
  const released = new Set<string>();
  const held: { model: string; pairs: number }[] = [];
  for (const name of base.contractNames()) {
    const [releasedBefore, changedBefore] = [released.size, changes.length];
    for (const { table, ...pair } of frozenPairs(base.contracts(name) as ContractFile)) {
      if (!wanted(pair)) continue;
      released.add(`${pair.machine}/${pair.model}`);
      const found = compare.pair(pair, table, name);
      if (found) changes.push({ ...pair, ...found });
    }
    const pairs = released.size - releasedBefore;
    if (pairs > 0 && changes.length === changedBefore) held.push({ model: name, pairs });
  }
  const unchanged = released.size - changes.length;
  const added = addedPairs(head, wanted).filter(({ machine, model }) => !released.has(`${machine}/${model}`));
  return { unchanged, held, changes: [...changes, ...compare.newContracts(added)], added };
}

type Found = Pick<PairChange, 'kind' | 'reasons'> | null;

/** Compares pairs; what two tables came to is kept, for most pairs share theirs. */
class Comparison {
  readonly #head: Definitions;
  readonly #resolved: ResolvedPairs;
  readonly #tables = new Map<ContractTable, ShapeTables>();
  readonly #known = keptByTwo<ContractTable, object, Found>();
  readonly #msrs: MsrComparison;
  readonly #headTables = new Map<string, ReadonlyMap<string, ContractTable>>();

  constructor(base: Definitions, head: Definitions, resolved: ResolvedPairs) {
    this.#head = head;
    this.#resolved = resolved;
    this.#msrs = new MsrComparison(base, head, resolved);
  }

  /** @param file the model whose contract file of the base has the pair */
  pair(pair: PairName, table: ContractTable, file: string): Found {
    const kept = this.#headContract(pair, file);
    if (!kept) return { kind: 'contract-removed', reasons: [notFrozen(pair)] };
    return this.#contracts(table, kept) ?? this.#msrs.contracts(pair, file) ?? this.#definition(pair, table);
  }

  /** Contracts that the base has not: they must be what their pairs resolve to. */
  newContracts(pairs: readonly PairName[]): PairChange[] {
    return pairs.flatMap((pair): PairChange[] => {
      const table = this.#headContract(pair, pair.model);
      const found = table && (this.#definition(pair, table) ?? this.#msrs.newContract(pair));
      return found ? [{ ...pair, ...found, kind: 'contract-wrong' }] : [];
    });
  }

  #headContract({ machine, model }: PairName, file: string): ContractTable | undefined {
    let tables = this.#headTables.get(file);
    if (!tables) {
      const contracts = this.#head.contracts(file) as ContractFile | undefined;
      tables = new Map(
        [...(contracts ? frozenPairs(contracts) : [])].map((one) => [`${one.machine}/${one.model}`, one.table]),
      );
      this.#headTables.set(file, tables);
    }
    return tables.get(`${machine}/${model}`);
  }

  /** A frozen table may gain pairs and evidence; its rows stay. */
  #contracts(before: ContractTable, after: ContractTable): Found {
    return this.#known(before, after, () => {
      const reasons = tableDifferences(this.#tablesOf(before), this.#tablesOf(after), EDITED_CONTRACT);
      return reasons.length > 0 ? { kind: 'contract-changed', reasons } : null;
    });
  }

  #definition(pair: PairName, table: ContractTable): Found {
    const now = this.#resolved.of(pair, this.#head);
    if (now instanceof InputError) return { kind: 'removed', reasons: [gone(pair, now)] };
    const tables = this.#known(table, now, () => {
      const reasons = tableDifferences(this.#tablesOf(table), now.tables, DEFINITIONS);
      return reasons.length > 0 ? { kind: 'changed', reasons } : null;
    });
    const msrs = this.#msrs.definition(pair, now);
    return msrs.length > 0 ? { kind: 'changed', reasons: [...(tables?.reasons ?? []), ...msrs] } : tables;
  }

  #tablesOf(table: ContractTable): ShapeTables {
    const known = this.#tables.get(table) ?? eachShape((smp) => contractOfTable(table, smp).vcpus);
    this.#tables.set(table, known);
    return known;
  }
}

const notFrozen = ({ machine, model }: PairName): Reason =>
  reason({
    ...{ code: 'contract-removed', step: 'contract', layer: 'monitor' },
    message: `${machine}/${model} has no contract any more`,
  });

const gone = ({ machine, model }: PairName, { message }: InputError): Reason =>
  reason({
    ...{ code: 'definition-removed', step: 'resolve', layer: 'monitor' },
    message: `${machine}/${model} cannot be made any more: ${message}`,
  });

/** Pairs of machine types that promise something. */
function addedPairs(head: Definitions, wanted: PairFilter): PairName[] {
  return listMachines(head)
    .filter(({ name }) => head.machine(name).follows !== true)
    .flatMap(({ name: machine }) => listModels(machine, head).map(({ name: model }) => ({ machine, model })))
    .filter(wanted);
}
