/** Questions to the page's data: names of cells, their tables, and what differs between two tables. */
import type { Cell, ReportData, Vcpu } from './data.js';
import { type Status, statusOf } from './status.js';

export const REGISTER_NAMES = ['EAX', 'EBX', 'ECX', 'EDX'] as const;

export interface Model extends ReportData {
  /** By cell. */
  readonly statuses: readonly Status[];
}

export const modelOf = (data: ReportData): Model => ({
  ...data,
  statuses: data.cells.map(statusOf),
});

export const pairOf = ({ machines, cpus }: Model, { machine, cpu }: Cell): string =>
  `${machines[machine]}/${cpus[cpu]}`;

/** `lab:6.12.107+deb13/EPYC > local`, with the subject before it where it is not the reference monitor. */
export function pathName({ paths }: Model, path: number): string {
  const { subject, hosts } = paths[path]!;
  return `${subject === 'reference-vmm' ? '' : `${subject}: `}${hosts.join(' > ')}`;
}

/** The command that runs the cell again. */
export function replayOf(model: Model, cell: Cell): string {
  const { subject, hosts } = model.paths[cell.path]!;
  const shape = model.shapes[cell.shape]!;
  return [
    'guest-abi verify',
    `--pair '${pairOf(model, cell)}'`,
    ...(shape === '1' ? [] : [`--smp ${shape}`]),
    ...(subject === 'reference-vmm' ? [] : [`--subject ${subject}`]),
    ...[...new Set(hosts)].map((host) => `--host '${host}'`),
    `--scenario ${model.scenarios[cell.scenario]}${model.options}`,
  ].join(' ');
}

/** One CPUID row: its place as rows begin, and its registers. */
export interface Row {
  readonly place: string;
  readonly values: readonly number[];
}

/** CPUID rows by place. */
export function cpuidOf({ tables, rows }: Model, { cpuid }: Vcpu): ReadonlyMap<string, Row> {
  return new Map(
    tables[cpuid]!.map((at) => {
      const row = rows[at]!;
      const [leaf, subleaf, ...values] = row.split(' ');
      const place = `${leaf} ${subleaf}`;
      return [place, { place, values: values.map((value) => Number.parseInt(value, 16)) }];
    }),
  );
}

/** Values or fault classes by index. */
export const msrsOf = ({ tables, rows }: Model, { msrs }: Vcpu): ReadonlyMap<string, string> =>
  new Map(tables[msrs]!.map((at) => rows[at]!.split(' ') as [string, string]));

/** `7.0`, `80000008`. */
export function placeName(place: string): string {
  const [leaf, subleaf] = place.split(' ').map((word) => word.replace(/^0+(?=.)/, '').toUpperCase());
  return subleaf === '-' ? leaf! : `${leaf}.${subleaf}`;
}

/** The name of a bit, or `[bit]`. */
export function bitName({ features }: Model, place: string, register: number, bit: number): string {
  return features[`${place} ${register}`]?.[bit] ?? `[${bit}]`;
}

/** A register of two tables that differs, or a whole row that only one of them has. */
export interface CpuidDifference {
  readonly place: string;
  /** Null: the row. */
  readonly register: number | null;
  /** One register, or the row's four; null: no row. */
  readonly before: readonly number[] | null;
  readonly after: readonly number[] | null;
}

export const bitsOf = (value: number): number[] =>
  Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => ((value >>> bit) & 1) === 1);

/** Everything in which two tables differ, in the order of their places. */
export function cpuidDifferences(before: ReadonlyMap<string, Row>, after: ReadonlyMap<string, Row>): CpuidDifference[] {
  const places = [...new Set([...before.keys(), ...after.keys()])].sort();
  return places.flatMap((place): CpuidDifference[] => {
    const [was, is] = [before.get(place)?.values, after.get(place)?.values];
    if (!was || !is) return [{ place, register: null, before: was ?? null, after: is ?? null }];
    return REGISTER_NAMES.flatMap((_, register) =>
      was[register] === is[register] ? [] : [{ place, register, before: [was[register]!], after: [is[register]!] }],
    );
  });
}

export const hex = (value: number): string => value.toString(16).padStart(8, '0');
