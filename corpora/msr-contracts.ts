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

export interface MsrContractFile {
  readonly schema: 'guest-abi/msr-contract/1';
  readonly model: string;
  readonly tables: readonly MsrContractTable[];
}

/** A released pair's MSRs, ready to be frozen. */
export interface FrozenMsrs {
  readonly model: string;
  readonly machine: string;
  readonly msrs: readonly MsrValue[];
}

/** The frozen MSRs of a pair, by index; undefined where there are none: pairs with feature overrides, machine types that promise nothing. */
export function msrContractOf(
  pair: string,
  definitions: Definitions = builtInDefinitions(),
): readonly MsrValue[] | undefined {
  const { machine, cpu } = parsePair(pair);
  if (cpu.options.length > 0) return undefined;
  const file = definitions.msrContracts(cpu.model) as MsrContractFile | undefined;
  const name = definitions.machineIndex.aliases[machine] ?? machine;
  const table = file?.tables.find(({ pairs }) => pairs[cpu.model]?.includes(name));
  return table && msrsOf(table);
}

const msrsOf = ({ values }: MsrContractTable): MsrValue[] =>
  Object.entries(values)
    .flatMap(([value, ranges]) => ranges.split(' ').flatMap((range) => within(range, parseHex64(value))))
    .sort((a, b) => a.index - b.index);

function within(range: string, value: bigint): MsrValue[] {
  const [first, last = first] = range.split('-').map(parseHex32);
  return Array.from({ length: last! - first! + 1 }, (_, i) => ({ index: first! + i, value }));
}

/** The opposite of `msrsOf`: values ascending, indices of each in runs. */
function valuesOf(msrs: readonly MsrValue[]): Record<string, string> {
  const byValue = new Map<bigint, number[]>();
  for (const { index, value } of msrs) byValue.set(value, [...(byValue.get(value) ?? []), index]);
  return Object.fromEntries(
    [...byValue]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([value, indices]) => [hex64(value), runsOf(indices.sort((a, b) => a - b)).join(' ')]),
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
  const tables = file.tables.map(({ pairs, values }) => ({ pairs: new Map(Object.entries(pairs)), values }));
  for (const { model, machine, msrs } of frozen) {
    const values = valuesOf(msrs);
    const same = tables.find((table) => JSON.stringify(table.values) === JSON.stringify(values));
    const known = tables.find(({ pairs }) => pairs.get(model)?.includes(machine));
    if (known && known !== same) throw contractExists(`${machine}/${model}`);
    if (known) continue;
    const table = same ?? { pairs: new Map<string, readonly string[]>(), values };
    if (!same) tables.push(table);
    table.pairs.set(model, [...(table.pairs.get(model) ?? []), machine]);
  }
  return {
    ...file,
    tables: tables.map(({ pairs, values }) => ({
      pairs: Object.fromEntries([...pairs].sort(([a], [b]) => (a < b ? -1 : 1))),
      values,
    })),
  };
}

const contractExists = (pair: string): InputError =>
  new InputError('contract-exists', `${pair} has a contract with other MSRs; a contract is never changed`, {
    given: pair,
  });

/** A file as it stands on disk. */
export const msrContractText = (file: MsrContractFile): string => canonical(file);
