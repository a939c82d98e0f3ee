/** What the guest of a cell showed, as the log holds it: thousands of cells share a table, so each distinct one is a line of its own, named by its digest. */
import { createHash } from 'node:crypto';
import { type CpuidRow, CpuidTable, contentOfRows } from '../corpora/cpuid.js';
import { hex32, hex64, parseHex32, parseHex64 } from '../corpora/hex.js';
import type { VcpuIdentity } from '../corpora/identity.js';
import { KeptOf } from '../corpora/kept.js';
import { type ObservedMsr, type VcpuObservation, vcpuObservationToJson } from '../corpora/observation.js';

/** First 32 hex digits of the SHA-256 of a table's rows, joined by newlines. */
export type Digest = string;

/**
 * Rows of text. `cpuid`: `leaf subleaf eax ebx ecx edx` in hex of 8 digits, subleaf `-` where there is none, in the order asked.
 * `msrs`: `index value` in hex of 8 and 16 digits, or `index #GP`; those that count time stand in the cell, since they repeat in none.
 */
export interface LoggedTable {
  readonly kind: 'cpuid' | 'msrs';
  readonly rows: readonly string[];
}

/** What one vCPU must show. */
export interface LoggedExpectation {
  readonly index: number;
  readonly apicId: number;
  readonly cpuid: Digest;
  readonly msrs: Digest;
}

/** One dump of one vCPU; registers as `VcpuObservationJson` has them. */
export interface LoggedVcpu extends LoggedExpectation {
  readonly sequence: number;
  readonly cr0: string;
  readonly cr4: string;
  readonly efer: string;
  readonly apicBase: string;
  readonly xss: string;
  readonly xcr0: string | null;
  /** Rows of MSRs that count time. */
  readonly time: readonly string[];
}

/** One step of a guest's life, and what its vCPUs showed after it. */
export interface LoggedStep {
  readonly step: string;
  readonly vcpus: readonly LoggedVcpu[];
}

/** A cell's life: what its guest had to show, and the dumps in their order. Empty steps: it never ran. */
export interface LoggedLife {
  readonly expected: readonly LoggedExpectation[];
  readonly steps: readonly LoggedStep[];
}

export type LoggedTables = ReadonlyMap<Digest, LoggedTable>;

export const digestOf = ({ kind, rows }: LoggedTable): Digest =>
  createHash('sha256')
    .update([kind, ...rows].join('\n'))
    .digest('hex')
    .slice(0, 32);

/** What a run knows of a cell's guest, before it is logged. */
export interface Life {
  readonly expected: readonly { readonly vcpu: VcpuIdentity; readonly msrs: readonly ObservedMsr[] }[];
  readonly steps: readonly { readonly step: string; readonly vcpus: readonly VcpuObservation[] }[];
}

/** Takes tables, and gives their digests. */
export type TableKeeper = (table: LoggedTable) => Digest;

/** What was put into each: thousands of tables are alike, and the texts of one take 0.2 ms. */
const known = new KeptOf<TableKeeper, Digest>();

/** The life with its tables put into `keep`. `isTime`: the MSR counts time. */
export function logLife({ expected, steps }: Life, keep: TableKeeper, isTime: (msr: number) => boolean): LoggedLife {
  const kept = known.of(keep);
  const cpuid = (rows: readonly CpuidRow[]): Digest =>
    kept.answer(`cpuid ${contentOfRows(rows)}`, () => keep({ kind: 'cpuid', rows: rows.map(cpuidText) }));
  const msrs = (own: readonly ObservedMsr[]): Digest => {
    const lasting = own.filter(({ index }) => !isTime(index));
    return kept.answer(`msrs ${contentOfMsrs(lasting)}`, () => keep({ kind: 'msrs', rows: lasting.map(msrText) }));
  };
  return {
    expected: expected.map(({ vcpu, msrs: own }) => ({
      index: vcpu.index,
      apicId: vcpu.apicId,
      cpuid: cpuid(vcpu.cpuid.rows),
      msrs: msrs(own),
    })),
    steps: steps.map(({ step, vcpus }) => ({
      step,
      vcpus: vcpus.map((seen) => ({
        ...vcpuObservationToJson({ ...seen, cpuid: [], msrs: [] }),
        cpuid: cpuid(seen.cpuid),
        msrs: msrs(seen.msrs),
        time: seen.msrs.filter(({ index }) => isTime(index)).map(msrText),
      })),
    })),
  };
}

const contentOfMsrs = (msrs: readonly ObservedMsr[]): string =>
  msrs.map((msr) => `${msr.index},${'fault' in msr ? msr.fault : msr.value}`).join(';');

const bare = (value: number): string => hex32(value).slice(2);

const cpuidText = ({ leaf, subleaf, eax, ebx, ecx, edx }: CpuidRow): string =>
  [bare(leaf), subleaf === null ? '-' : bare(subleaf), ...[eax, ebx, ecx, edx].map(bare)].join(' ');

const msrText = (msr: ObservedMsr): string =>
  `${bare(msr.index)} ${'fault' in msr ? msr.fault : hex64(msr.value).slice(2)}`;

/** Throws `RangeError` on a row of another form. */
export function cpuidRowOf(text: string): CpuidRow {
  if (!/^[0-9a-f]{8} (?:-|[0-9a-f]{8})(?: [0-9a-f]{8}){4}$/.test(text)) throw new RangeError(`no CPUID row: '${text}'`);
  const [leaf, subleaf, eax, ebx, ecx, edx] = text
    .split(' ')
    .map((word) => (word === '-' ? null : parseHex32(`0x${word}`)));
  return { leaf: leaf!, subleaf: subleaf!, eax: eax!, ebx: ebx!, ecx: ecx!, edx: edx! };
}

/** Throws `RangeError` on a row of another form. */
export function msrOf(text: string): ObservedMsr {
  const [, index, value] = /^([0-9a-f]{8}) (#GP|#UD|[0-9a-f]{16})$/.exec(text) ?? [];
  if (!index || !value) throw new RangeError(`no MSR: '${text}'`);
  return value === '#GP' || value === '#UD'
    ? { index: parseHex32(`0x${index}`), fault: value }
    : { index: parseHex32(`0x${index}`), value: parseHex64(`0x${value}`) };
}

/** The dump of a logged vCPU, JSON form, every table put back. */
export const dumpOf = ({ cpuid, msrs, time, ...vcpu }: LoggedVcpu, tables: LoggedTables) => ({
  ...vcpu,
  cpuid: tables.get(cpuid)!.rows.map(cpuidRowOf),
  msrs: [...tables.get(msrs)!.rows, ...time].map(msrOf).sort((a, b) => a.index - b.index),
});

/** What a vCPU had to show. */
export const expectationOf = ({ cpuid, msrs, ...vcpu }: LoggedExpectation, tables: LoggedTables) => ({
  ...vcpu,
  cpuid: new CpuidTable(tables.get(cpuid)!.rows.map(cpuidRowOf)),
  msrs: tables.get(msrs)!.rows.map(msrOf),
});
