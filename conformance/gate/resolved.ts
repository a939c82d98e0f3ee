/** Pairs resolved in every shape that contracts hold: each distinct one once, whichever definitions it comes from. */
import { CONTRACT_SHAPES, type ContractShape } from '../../corpora/contracts.js';
import type { Definitions } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import { type PairInputs, pairInputs, resolve } from '../../reference-vmm/cpu-model/resolve.js';

/** A pair without overrides. */
export interface PairName {
  readonly machine: string;
  readonly model: string;
}

/** Every vCPU of a pair in each shape. */
export type ShapeTables = Readonly<Record<ContractShape, CpuIdentity['vcpus']>>;

/** A pair that resolves. Pairs with equal inputs give one and the same object. */
export class ResolvedPair {
  readonly inputs: PairInputs;
  readonly #resolve: (smp: ContractShape) => CpuIdentity;
  #identities: Readonly<Record<ContractShape, CpuIdentity>> | undefined;
  #tables: ShapeTables | undefined;

  constructor(inputs: PairInputs, resolveShape: (smp: ContractShape) => CpuIdentity) {
    this.inputs = inputs;
    this.#resolve = resolveShape;
  }

  /** Throws `InputError` where its properties contradict each other. */
  get identities(): Readonly<Record<ContractShape, CpuIdentity>> {
    this.#identities ??= eachShape(this.#resolve);
    return this.#identities;
  }

  get tables(): ShapeTables {
    this.#tables ??= eachShape((smp) => this.identities[smp].vcpus);
    return this.#tables;
  }
}

export const eachShape = <T>(make: (smp: ContractShape) => T): Record<ContractShape, T> =>
  Object.fromEntries(CONTRACT_SHAPES.map((smp) => [smp, make(smp)])) as Record<ContractShape, T>;

/** What pairs resolve to; shared between the definitions before and after an edit, which mostly agree. */
export class ResolvedPairs {
  readonly #byInputs = new Map<string, ResolvedPair>();
  readonly #byName = new WeakMap<Definitions, Map<string, ResolvedPair | InputError>>();

  /** An `InputError` as value where the pair does not exist or cannot be made. */
  of({ machine, model }: PairName, definitions: Definitions): ResolvedPair | InputError {
    const known = this.#byName.get(definitions) ?? new Map<string, ResolvedPair | InputError>();
    this.#byName.set(definitions, known);
    const name = `${machine}/${model}`;
    const pair = known.get(name) ?? this.#resolved(machine, model, definitions);
    known.set(name, pair);
    return pair;
  }

  #resolved(machine: string, model: string, definitions: Definitions): ResolvedPair | InputError {
    try {
      const inputs = pairInputs(machine, model, definitions);
      const known = this.#byInputs.get(inputs.text);
      if (known) return known;
      const pair = new ResolvedPair(inputs, (smp) => resolve({ machine, cpu: model, smp, definitions }));
      void pair.tables;
      this.#byInputs.set(inputs.text, pair);
      return pair;
    } catch (error) {
      if (error instanceof InputError && error.code !== 'bad-corpora-file') return error;
      throw error;
    }
  }
}

/** Makes something of two objects, once for each two. */
export function keptByTwo<A extends object, B extends object, T>(): (a: A, b: B, make: () => T) => T {
  const kept = new WeakMap<A, WeakMap<B, { readonly value: T }>>();
  return (a, b, make) => {
    const inner = kept.get(a) ?? new WeakMap<B, { readonly value: T }>();
    kept.set(a, inner);
    const known = inner.get(b) ?? { value: make() };
    inner.set(b, known);
    return known.value;
  };
}
