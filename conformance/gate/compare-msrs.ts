/** MSRs of released pairs before and after an edit: what was frozen, else what the definitions of the base give. */
import type { Definitions } from '../../corpora/definitions.js';
import { type MsrContractFile, msrTablesOf } from '../../corpora/msr-contracts.js';
import { type Reason, reason } from '../../corpora/verdict.js';
import { DEFINITIONS } from '../../reference-vmm/cpu-model/differences.js';
import { brokenMsrs } from '../run/expectation.js';
import { msrDifferences } from './differences.js';
import { keptByTwo, type PairName, ResolvedPair, type ResolvedPairs } from './resolved.js';
import type { ChangeKind } from './result.js';

type Found = { readonly kind: ChangeKind; readonly reasons: readonly Reason[] } | null;
type Tables = ReturnType<typeof msrTablesOf>;

/** Stands for a table that a file does not have. */
const NONE = {};

/** What tables came to is kept: most pairs share theirs. */
export class MsrComparison {
  readonly #base: Definitions;
  readonly #head: Definitions;
  readonly #resolved: ResolvedPairs;
  readonly #both = keptByTwo<object, object, object>();
  readonly #frozen = keptByTwo<object, ResolvedPair, Reason[]>();
  readonly #unfrozen = keptByTwo<ResolvedPair, ResolvedPair, Reason[]>();

  constructor(base: Definitions, head: Definitions, resolved: ResolvedPairs) {
    this.#base = base;
    this.#head = head;
    this.#resolved = resolved;
  }

  /** A frozen MSR keeps its value and what writes do to it. @param file the model whose files have the pair */
  contracts(pair: PairName, file: string): Found {
    const [before, after] = [this.#base, this.#head].map((side) => tablesIn(side, file, pair)) as [Tables, Tables];
    for (const part of ['values', 'writes'] as const) {
      if (!before[part]) continue;
      if (!after[part]) return { kind: 'contract-removed', reasons: [gone(pair)] };
      if (textOf(before[part]) !== textOf(after[part])) return { kind: 'contract-changed', reasons: [edited(part)] };
    }
    return null;
  }

  /** What the pair resolves to now. */
  definition(pair: PairName, now: ResolvedPair): Reason[] {
    const tables = tablesIn(this.#base, pair.model, pair);
    if (tables.values) return this.#against(tables, pair, now, this.#base);
    const before = this.#resolved.of(pair, this.#base);
    if (before === now || !(before instanceof ResolvedPair)) return [];
    return this.#unfrozen(before, now, () => msrDifferences(before.identities, now.identities, DEFINITIONS));
  }

  /** A new contract is what its pair resolves to. */
  newContract(pair: PairName): Found {
    const now = this.#resolved.of(pair, this.#head);
    if (!(now instanceof ResolvedPair)) return null;
    const reasons = this.#against(tablesIn(this.#head, pair.model, pair), pair, now, this.#head);
    return reasons.length > 0 ? { kind: 'contract-wrong', reasons } : null;
  }

  #against({ values, writes }: Tables, { machine, model }: PairName, now: ResolvedPair, side: Definitions): Reason[] {
    const both = this.#both(values ?? NONE, writes ?? NONE, () => ({}));
    return this.#frozen(both, now, () => brokenMsrs({ ...now.identities['1'], pair: `${machine}/${model}` }, side));
  }
}

const tablesIn = (side: Definitions, file: string, pair: PairName): Tables =>
  msrTablesOf(side.msrContracts(file) as MsrContractFile | undefined, pair);

const texts = new WeakMap<object, string>();

/** Of what a table holds, without its pairs. */
function textOf(table: NonNullable<Tables['values'] | Tables['writes']>): string {
  const content = 'values' in table ? table.values : table.effects;
  const text = texts.get(content) ?? JSON.stringify(content);
  texts.set(content, text);
  return text;
}

const edited = (part: 'values' | 'writes'): Reason =>
  reason({
    ...{ code: 'contract-altered', step: 'contract', layer: 'monitor' },
    message: part === 'values' ? 'frozen values of MSRs were edited' : 'frozen effects of writes to MSRs were edited',
  });

const gone = ({ machine, model }: PairName): Reason =>
  reason({
    ...{ code: 'contract-removed', step: 'contract', layer: 'monitor' },
    message: `${machine}/${model} has no MSR contract any more`,
  });
