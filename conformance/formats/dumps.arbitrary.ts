/** Arbitrary dumps for properties: any at all, and those that a format holds without loss. */
import fc from 'fast-check';
import { type CpuidRow, isIndexedLeaf } from '../../corpora/cpuid.js';
import type { FaultClass } from '../../corpora/observation.js';
import {
  ABSENT_MSRS,
  ABSENT_ROWS,
  type Absent,
  type CpuDump,
  type DumpedMsr,
  dumpOf,
  maskedCpu,
  type NamedCpu,
  POLICIES,
} from './dump.js';

const ALL = 0xffffffff;
const ALL64 = 2n ** 64n - 1n;
const u32 = fc.oneof(fc.constantFrom(0, 1, ALL), fc.integer({ min: 0, max: ALL }));
const u64 = fc.oneof(fc.constantFrom(0n, 1n, ALL64), fc.bigInt({ min: 0n, max: ALL64 }));
const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9._<&' -]{0,12}[A-Za-z0-9]$/);

/** What dumps of a format look like. */
export interface Shape {
  readonly absent: Absent;
  readonly cpus: 'one' | 'many' | 'none';
  readonly leaf?: fc.Arbitrary<{ readonly leaf: number; readonly subleaf: number | null }>;
  /** How much of a register is pinned. */
  readonly pinned?: 'all' | 'registers' | 'bits';
  readonly zeroRows?: boolean;
  readonly rows?: false;
  readonly msrs?: 'none' | 'values' | 'faults' | 'bits' | 'anything';
  readonly named?: fc.Arbitrary<NamedCpu | null>;
  readonly facts?: fc.Arbitrary<Record<string, string>>;
}

const anyLeaf = fc.oneof(
  fc.integer({ min: 0, max: 0x24 }),
  fc.integer({ min: 0x80000000, max: 0x80000026 }),
  fc.integer({ min: 0x40000000, max: 0x40000010 }),
  u32,
);

/** A leaf with a subleaf as formats write it that have a number for every subleaf. */
export const numberedPlace = (leaf: fc.Arbitrary<number> = anyLeaf): NonNullable<Shape['leaf']> =>
  fc
    .record({ leaf, subleaf: fc.integer({ min: 0, max: 40 }) })
    .map(({ leaf, subleaf }) => ({ leaf, subleaf: isIndexedLeaf(leaf) || subleaf > 20 ? subleaf : null }));

/** Any leaf with any subleaf, or none; no subleaf beside subleaf 0. */
export const anyPlace = fc.record(
  { leaf: anyLeaf, subleaf: fc.option(fc.oneof(fc.integer({ min: 0, max: 40 }), u32)) },
  { noNullPrototype: true },
);

const names = fc.uniqueArray(name, { maxLength: 6 });

export const namedCpu: fc.Arbitrary<NamedCpu> = fc.record(
  {
    mode: fc.constantFrom('custom', 'host-model', 'host-passthrough', 'maximum'),
    model: name,
    vendor: fc.option(name),
    features: names.chain((all) =>
      fc.tuple(
        ...all.map((one) =>
          fc.record({ name: fc.constant(one), policy: fc.constantFrom(...POLICIES) }, { noNullPrototype: true }),
        ),
      ),
    ),
    offered: fc.constant([]),
  },
  { noNullPrototype: true },
);

const registers = fc.tuple(u32, u32, u32, u32);
const rowOf = (
  place: { leaf: number; subleaf: number | null },
  [eax, ebx, ecx, edx]: readonly [number, number, number, number],
): CpuidRow => ({
  ...place,
  eax,
  ebx,
  ecx,
  edx,
});

function maskArbitrary(pinned: Shape['pinned']): fc.Arbitrary<[number, number, number, number]> {
  const register = pinned === 'bits' ? u32 : pinned === 'registers' ? fc.constantFrom(0, ALL) : fc.constant(ALL);
  return fc.tuple(register, register, register, register);
}

function msrArbitrary(msrs: Shape['msrs']): fc.Arbitrary<DumpedMsr> {
  const open = msrs === 'bits' || msrs === 'anything';
  const value = fc.record({ index: u32, value: u64, mask: open ? u64 : fc.constant(ALL64) }, { noNullPrototype: true });
  const pinned = value.map((msr) => ({ ...msr, value: msr.value & msr.mask }));
  const faults: FaultClass[] = msrs === 'anything' ? ['#GP', '#UD'] : ['#GP'];
  const fault = fc.record({ index: u32, fault: fc.constantFrom(...faults) }, { noNullPrototype: true });
  return msrs === 'faults' || msrs === 'anything' ? fc.oneof(pinned, fault) : pinned;
}

/** Dumps of this shape. */
export function dumpsOf(shape: Shape): fc.Arbitrary<CpuDump> {
  const rows = fc.uniqueArray(
    fc
      .record({ place: shape.leaf ?? numberedPlace(), values: registers, mask: maskArbitrary(shape.pinned) })
      .filter(({ values }) => shape.zeroRows !== false || values.some((value) => value !== 0))
      .map(({ place, values, mask }) => ({ row: rowOf(place, values), mask: rowOf(place, mask) })),
    { selector: ({ row }) => `${row.leaf} ${row.subleaf}`, maxLength: shape.rows === false ? 0 : 12 },
  );
  const msrs =
    (shape.msrs ?? 'none') === 'none'
      ? fc.constant<DumpedMsr[]>([])
      : fc.uniqueArray(msrArbitrary(shape.msrs), { selector: ({ index }) => index, maxLength: 6 });
  const cpu = fc.record({ rows, msrs });
  const cpus =
    shape.cpus === 'none'
      ? fc.array(cpu, { maxLength: 0 })
      : fc.array(cpu, { minLength: 1, maxLength: shape.cpus === 'one' ? 1 : 3 });
  return fc
    .record({ cpus, named: shape.named ?? fc.constant(null), facts: shape.facts ?? fc.constant({}) })
    .map(({ cpus, named, facts }) => ({
      ...dumpOf(
        cpus.map(({ rows, msrs }, index) => maskedCpu(index, rows, msrs)),
        shape.absent,
        facts,
      ),
      named,
    }));
}

/** Dumps of every kind, also such as no format but our own holds. */
export const anyDump: fc.Arbitrary<CpuDump> = fc
  .record({ row: fc.constantFrom(...ABSENT_ROWS), msr: fc.constantFrom(...ABSENT_MSRS) })
  .chain((absent) =>
    dumpsOf({
      absent: { ...absent } as Absent,
      cpus: 'many',
      leaf: fc.oneof(anyPlace, numberedPlace()),
      pinned: 'bits',
      msrs: 'anything',
      named: fc.option(namedCpu),
      facts: fc.dictionary(fc.constantFrom('pair', 'microcode_version', 'cpu_vendor'), name, { noNullPrototype: true }),
    }),
  );
