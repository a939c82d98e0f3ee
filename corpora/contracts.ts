/** Contracts: the frozen CPUID tables of released pairs. One file is the ABI history of one model; it only grows. */
import { canonical } from './canonical.js';
import { type CpuidRow, type CpuidRowJson, CpuidTable, rowFromJson, rowToJson } from './cpuid.js';
import { builtInDefinitions, type Definitions } from './definitions.js';
import { InputError } from './errors.js';
import type { VcpuIdentity } from './identity.js';
import { KeptOf } from './kept.js';
import { parsePair } from './pair.js';

/** The SMP shapes that contracts hold. */
export const CONTRACT_SHAPES = ['1', '8c4t2'] as const;
export type ContractShape = (typeof CONTRACT_SHAPES)[number];

/** What one vCPU shows otherwise than vCPU 0. */
export interface ContractVcpu {
  readonly apicId: number;
  readonly rows: readonly CpuidRowJson[];
}

/** A table in one shape. Rows of a larger shape are only those that differ from shape `1`; no row of `1` ever vanishes. */
export interface ContractShapeTable {
  /** Real software that gave vCPU 0 this table (leaf 0xD aside: it is the host CPU's); empty: only our resolver says so. */
  readonly evidence: readonly string[];
  readonly rows: readonly CpuidRowJson[];
  /** From vCPU 1 on. */
  readonly vcpus?: readonly ContractVcpu[];
}

/** One distinct table of a model. */
export interface ContractTable {
  /** Model name as a user writes it -> machine types that show this table. */
  readonly pairs: Readonly<Record<string, readonly string[]>>;
  readonly smp: Readonly<Record<ContractShape, ContractShapeTable>>;
}

/** What later releases show otherwise on machine types that the contract is older than: both values stand in the file. */
export interface Disagreement {
  /** Of `machine-types/deviations.json`. */
  readonly id: string;
  readonly releases: readonly string[];
  readonly pairs: Readonly<Record<string, readonly string[]>>;
  /** vCPU 0 of shape `1`: the rows as those releases have them. */
  readonly rows: readonly CpuidRowJson[];
}

export interface ContractFile {
  readonly schema: 'guest-abi/contract/1';
  readonly model: string;
  readonly tables: readonly ContractTable[];
  readonly disagreements: readonly Disagreement[];
}

/** The contract of one pair in one shape. */
export interface Contract {
  readonly vcpus: readonly VcpuIdentity[];
  /** Real software that gave it, or `resolved-only`. */
  readonly evidence: string;
}

/**
 * The frozen contract of a pair, or undefined where there is none: pairs with feature overrides, other shapes, machine types that
 * promise nothing. `pair` as in `pc-i440fx-2.3/Nehalem`, `smp` as in `8c4t2`.
 */
export function contractOf(
  pair: string,
  smp: string,
  definitions: Definitions = builtInDefinitions(),
): Contract | undefined {
  const { machine, cpu } = parsePair(pair);
  if (cpu.options.length || !isContractShape(smp)) return undefined;
  const file = definitions.contracts(cpu.model) as ContractFile | undefined;
  const name = definitions.machineIndex.aliases[machine] ?? machine;
  const table = file?.tables.find(({ pairs }) => pairs[cpu.model]?.includes(name));
  return table && unfolded.of(table).answer(smp, () => contractOfTable(table, smp));
}

/** One table is of many pairs. */
const unfolded = new KeptOf<ContractTable, Contract>();

const isContractShape = (smp: string): smp is ContractShape => (CONTRACT_SHAPES as readonly string[]).includes(smp);

/** What a pair of this table shows in one shape. */
export function contractOfTable(table: ContractTable, smp: ContractShape): Contract {
  const { evidence, rows, vcpus = [] } = table.smp[smp];
  const first = merge(table.smp['1'].rows.map(rowFromJson), smp === '1' ? [] : rows);
  const all = [{ apicId: 0, rows: [] as readonly CpuidRowJson[] }, ...vcpus];
  return {
    vcpus: all.map((vcpu, index) => ({
      index,
      apicId: vcpu.apicId,
      cpuid: new CpuidTable(merge(first, vcpu.rows)),
    })),
    evidence: evidence.length ? evidence.join('; ') : 'resolved-only',
  };
}

const placeOf = ({ leaf, subleaf }: CpuidRow): string => `${leaf}.${subleaf}`;

function merge(rows: readonly CpuidRow[], changes: readonly CpuidRowJson[]): CpuidRow[] {
  const merged = new Map(rows.map((row) => [placeOf(row), row]));
  for (const change of changes.map(rowFromJson)) merged.set(placeOf(change), change);
  return [...merged.values()];
}

/** A released pair, ready to be frozen. */
export interface FrozenPair {
  readonly model: string;
  readonly machine: string;
  /** Every vCPU in every shape. */
  readonly shapes: Readonly<Record<ContractShape, readonly VcpuIdentity[]>>;
  readonly evidence: Readonly<Record<ContractShape, readonly string[]>>;
}

/**
 * Adds pairs to a contract file. A pair that is there already may gain evidence, never another table.
 * Throws `InputError` (`contract-exists`) where it would.
 */
export function freeze(file: ContractFile, pairs: readonly FrozenPair[]): ContractFile {
  const tables = file.tables.map((table) => new GrowingTable(table));
  const bySignature = new Map(tables.map((table) => [table.signature, table]));
  const byPair = new Map(tables.flatMap((table) => table.names().map((name) => [name, table] as const)));
  for (const pair of pairs) {
    const fresh = new GrowingTable(tableOf(pair));
    const known = byPair.get(`${pair.machine}/${pair.model}`);
    if (known && known.signature !== fresh.signature) throw contractExists(pair);
    const table = known ?? bySignature.get(fresh.signature);
    if (table) table.add(pair);
    else {
      tables.push(fresh);
      bySignature.set(fresh.signature, fresh);
    }
    byPair.set(`${pair.machine}/${pair.model}`, table ?? fresh);
  }
  return { ...file, tables: tables.map((table) => table.toJSON()) };
}

const contractExists = ({ machine, model }: FrozenPair): InputError =>
  new InputError(
    'contract-exists',
    `${machine}/${model} has a contract with another table; a contract is never changed`,
    {
      given: `${machine}/${model}`,
    },
  );

function tableOf({ model, machine, shapes, evidence }: FrozenPair): ContractTable {
  const first = shapes['1'][0]!.cpuid;
  const [larger, ...others] = shapes['8c4t2'];
  return {
    pairs: { [model]: [machine] },
    smp: {
      '1': { evidence: evidence['1'], rows: first.toJSON() },
      '8c4t2': {
        evidence: evidence['8c4t2'],
        rows: changedRows(first, larger!.cpuid),
        vcpus: others.map(({ apicId, cpuid }) => ({ apicId, rows: changedRows(larger!.cpuid, cpuid) })),
      },
    },
  };
}

/** The rows of `to` that `from` has otherwise; those that only `from` has, as zeros. */
function changedRows(from: CpuidTable, to: CpuidTable): CpuidRowJson[] {
  const changed = to.rows.filter((row) => JSON.stringify(from.get(row.leaf, row.subleaf)) !== JSON.stringify(row));
  const gone = from.rows.filter((row) => !to.get(row.leaf, row.subleaf));
  const zeros = gone.map((row) => ({ ...row, eax: 0, ebx: 0, ecx: 0, edx: 0 }));
  return new CpuidTable([...changed, ...zeros]).rows.map(rowToJson);
}

/** A table that gains machine types and evidence. */
class GrowingTable {
  readonly #table: ContractTable;
  readonly #pairs: Map<string, string[]>;
  readonly #evidence: Record<ContractShape, Set<string>>;
  /** Equal for equal tables. */
  readonly signature: string;

  constructor(table: ContractTable) {
    this.#table = table;
    this.#pairs = new Map(Object.entries(table.pairs).map(([model, machines]) => [model, [...machines]]));
    this.#evidence = { '1': new Set(table.smp['1'].evidence), '8c4t2': new Set(table.smp['8c4t2'].evidence) };
    this.signature = JSON.stringify(CONTRACT_SHAPES.map((shape) => [table.smp[shape].rows, table.smp[shape].vcpus]));
  }

  names(): string[] {
    return [...this.#pairs].flatMap(([model, machines]) => machines.map((machine) => `${machine}/${model}`));
  }

  add({ model, machine, evidence }: FrozenPair): void {
    const machines = this.#pairs.get(model) ?? [];
    if (!machines.includes(machine)) machines.push(machine);
    this.#pairs.set(model, machines);
    for (const shape of CONTRACT_SHAPES) for (const one of evidence[shape]) this.#evidence[shape].add(one);
  }

  toJSON(): ContractTable {
    const shape = (name: ContractShape): ContractShapeTable => ({
      ...this.#table.smp[name],
      evidence: [...this.#evidence[name]],
    });
    return {
      pairs: Object.fromEntries([...this.#pairs].sort(([a], [b]) => (a < b ? -1 : 1))),
      smp: { '1': shape('1'), '8c4t2': shape('8c4t2') },
    };
  }
}

/** Every frozen pair of a file, with the table that it shows. */
export function* frozenPairs(file: ContractFile): Generator<{ model: string; machine: string; table: ContractTable }> {
  for (const table of file.tables)
    for (const [model, machines] of Object.entries(table.pairs))
      for (const machine of machines) yield { model, machine, table };
}

/** A contract file with nothing in it. */
export const emptyContract = (model: string): ContractFile => ({
  schema: 'guest-abi/contract/1',
  model,
  tables: [],
  disagreements: [],
});

/** A contract file as it stands on disk. */
export const contractText = (file: ContractFile): string => canonical(file);
