/** MSR contracts: the frozen MSRs of released pairs, beside their CPUID tables. One file a model, `msr-contracts/<Model>.json`; it only grows. */
import { canonical } from './canonical.js';
import { builtInDefinitions, type Definitions } from './definitions.js';
import { InputError } from './errors.js';
import { hex32, hex64, parseHex32, parseHex64 } from './hex.js';
import type { MsrValue } from './identity.js';
import { parsePair } from './pair.js';

/** One distinct set of MSRs of a model, as vCPU 0 reads them after power-on. */
export interface MsrContractTable {
  /** Model name as a user writes it -> machine types that show it. */
  readonly pairs: Readonly<Record<string, readonly string[]>>;
  /** Value, 16 digits -> the MSRs that hold it: `0x00000200-0x0000020f 0x000002ff`. All others fault. */
  readonly values: Readonly<Record<string, string>>;
}

/** One distinct set of effects of writes. */
export interface MsrWritesTable {
  readonly pairs: MsrContractTable['pairs'];
  /** Effect (`keeps 0x00000000ffffffff, swallows 0xffffffff00000000`) -> the MSRs that have it. A write to any other faults. */
  readonly effects: Readonly<Record<string, string>>;
}

/** What a write does to one MSR, as `MsrWritesTable` has it. */
export interface MsrEffect {
  readonly index: number;
  readonly effect: string;
}

export interface MsrContractFile {
  readonly schema: 'guest-abi/msr-contract/1';
  readonly model: string;
  readonly tables: readonly MsrContractTable[];
  /** Absent where a file was frozen before effects were part of it. */
  readonly writes?: readonly MsrWritesTable[];
}

/** A released pair's MSRs, ready to be frozen. */
export interface FrozenMsrs {
  readonly model: string;
  readonly machine: string;
  readonly msrs: readonly MsrValue[];
  readonly effects: readonly MsrEffect[];
}

/** The frozen MSRs of a pair, by index; undefined where there are none: pairs with feature overrides, machine types that promise nothing. */
export function msrContractOf(
  pair: string,
  definitions: Definitions = builtInDefinitions(),
): readonly MsrValue[] | undefined {
  const table = tableOf(pair, definitions, ({ tables }) => tables);
  return table && unfolded(knownValues, table.values, (index, name) => ({ index, value: parseHex64(name) }));
}

/** What writes do to the MSRs of a pair, frozen, by index; undefined as `msrContractOf`, and where a file is older than that. */
export const msrEffectsOf = (
  pair: string,
  definitions: Definitions = builtInDefinitions(),
): readonly MsrEffect[] | undefined => {
  const table = tableOf(pair, definitions, ({ writes }) => writes ?? []);
  return table && unfolded(knownEffects, table.effects, (index, effect) => ({ index, effect }));
};

function tableOf<T extends Pick<MsrContractTable, 'pairs'>>(
  pair: string,
  definitions: Definitions,
  of: (file: MsrContractFile) => readonly T[],
): T | undefined {
  const { machine, cpu } = parsePair(pair);
  if (cpu.options.length > 0) return undefined;
  const file = definitions.msrContracts(cpu.model) as MsrContractFile | undefined;
  const name = definitions.machineIndex.aliases[machine] ?? machine;
  return file && of(file).find(({ pairs }) => pairs[cpu.model]?.includes(name));
}

/** A pair's tables in a file; undefined what it does not have. */
export function msrTablesOf(
  file: MsrContractFile | undefined,
  { machine, model }: { readonly machine: string; readonly model: string },
): { readonly values: MsrContractTable | undefined; readonly writes: MsrWritesTable | undefined } {
  const has = ({ pairs }: Pick<MsrContractTable, 'pairs'>): boolean => pairs[model]?.includes(machine) ?? false;
  return { values: file?.tables.find(has), writes: file?.writes?.find(has) };
}

/** Every pair of a file. */
export const frozenMsrPairs = ({ tables }: MsrContractFile): { readonly model: string; readonly machine: string }[] =>
  tables.flatMap(({ pairs }) =>
    Object.entries(pairs).flatMap(([model, machines]) => machines.map((machine) => ({ model, machine }))),
  );

/** One table is of many pairs: it is unfolded once. */
type Unfolded<T> = WeakMap<object, readonly T[]>;
const knownValues: Unfolded<MsrValue> = new WeakMap();
const knownEffects: Unfolded<MsrEffect> = new WeakMap();

/** The MSRs of runs, by index. */
function unfolded<T extends { readonly index: number }>(
  known: Unfolded<T>,
  named: Readonly<Record<string, string>>,
  memberOf: (index: number, name: string) => T,
): readonly T[] {
  const before = known.get(named);
  if (before) return before;
  const members = Object.entries(named)
    .flatMap(([name, ranges]) =>
      ranges
        .split(' ')
        .flatMap(within)
        .map((index) => memberOf(index, name)),
    )
    .sort((a, b) => a.index - b.index);
  known.set(named, members);
  return members;
}

function within(range: string): number[] {
  const [first, last = first] = range.split('-').map(parseHex32);
  return Array.from({ length: last! - first! + 1 }, (_, i) => first! + i);
}

/** An MSR with what its file says of it. */
interface Member {
  readonly index: number;
  readonly name: string;
}

/** The opposite of `unfolded`: names ascending, indices of each in runs. */
function namedRuns(members: readonly Member[]): Record<string, string> {
  const byName = new Map<string, number[]>();
  for (const { index, name } of members) byName.set(name, [...(byName.get(name) ?? []), index]);
  return Object.fromEntries(
    [...byName]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, indices]) => [name, runsOf(indices.sort((a, b) => a - b)).join(' ')]),
  );
}

function runsOf(indices: readonly number[]): string[] {
  const runs: [first: number, last: number][] = [];
  for (const index of indices) {
    const run = runs.at(-1);
    if (run && run[1] + 1 === index) run[1] = index;
    else runs.push([index, index]);
  }
  return runs.map(([first, last]) => (first === last ? hex32(first) : `${hex32(first)}-${hex32(last)}`));
}

/** Adds pairs to a file. Throws `InputError` (`contract-exists`) where a pair is there with other MSRs. */
export function freezeMsrs(file: MsrContractFile, frozen: readonly FrozenMsrs[]): MsrContractFile {
  const values = frozen.map((pair) => ({
    ...pair,
    runs: namedRuns(pair.msrs.map(({ index, value }) => ({ index, name: hex64(value) }))),
  }));
  const effects = frozen.map((pair) => ({
    ...pair,
    runs: namedRuns(pair.effects.map(({ index, effect }) => ({ index, name: effect }))),
  }));
  const own = file.tables.map((table) => ({ pairs: table.pairs, runs: table.values }));
  const ownWrites = (file.writes ?? []).map((table) => ({ pairs: table.pairs, runs: table.effects }));
  return {
    ...file,
    tables: grown(own, values).map(({ pairs, runs }) => ({ pairs, values: runs })),
    writes: grown(ownWrites, effects).map(({ pairs, runs }) => ({ pairs, effects: runs })),
  };
}

interface Runs {
  readonly pairs: MsrContractTable['pairs'];
  readonly runs: Readonly<Record<string, string>>;
}

/** Tables that have gained pairs; a pair that is there keeps its table. */
function grown(
  before: readonly Runs[],
  frozen: readonly (Pick<FrozenMsrs, 'model' | 'machine'> & Pick<Runs, 'runs'>)[],
): Runs[] {
  const tables = before.map(({ pairs, runs }) => ({ pairs: new Map(Object.entries(pairs)), runs }));
  for (const { model, machine, runs } of frozen) {
    const same = tables.find((table) => JSON.stringify(table.runs) === JSON.stringify(runs));
    const known = tables.find(({ pairs }) => pairs.get(model)?.includes(machine));
    if (known && known !== same) throw contractExists(`${machine}/${model}`);
    if (known) continue;
    const table = same ?? { pairs: new Map<string, readonly string[]>(), runs };
    if (!same) tables.push(table);
    table.pairs.set(model, [...(table.pairs.get(model) ?? []), machine]);
  }
  return tables.map(({ pairs, runs }) => ({
    pairs: Object.fromEntries([...pairs].sort(([a], [b]) => (a < b ? -1 : 1))),
    runs,
  }));
}

const contractExists = (pair: string): InputError =>
  new InputError('contract-exists', `${pair} has a contract with other MSRs; a contract is never changed`, {
    given: pair,
  });

/** A file as it stands on disk. */
export const msrContractText = (file: MsrContractFile): string => canonical(file);
