/** Writes a record as a probe would: for tests of all that reads records. */
import type { FaultClass, ObservedMsr } from '../corpora/observation.js';
import {
  ABI_VERSION,
  CHECKSUM_BYTES,
  FAULT,
  RECORD_FLAG,
  RECORD_HEADER_BYTES,
  RECORD_MAGIC,
  REGISTER_MSRS,
  recordChecksum,
  SECTION,
} from '../corpora/probe-abi.js';
import type { ProbeRecord } from './observation.js';

/** The bytes of `record`, checksum included. */
export function encodeRecord(record: ProbeRecord): Uint8Array {
  const { observation: seen, write } = record;
  const [efer, apicBase, xss] = REGISTER_MSRS;
  const registers = [
    ...[seen.cr0, seen.cr4, seen.apicId],
    ...msrsOf([observed(efer, seen.efer), observed(apicBase, seen.apicBase), observed(xss, seen.xss)]),
  ];
  const rows = seen.cpuid.flatMap((row) => [row.leaf, row.subleaf ?? 0, row.eax, row.ebx, row.ecx, row.edx]);
  const body = [
    ...section(SECTION.registers, registers),
    ...section(SECTION.cpuid, rows),
    ...section(SECTION.msrs, msrsOf(seen.msrs)),
    ...(seen.xcr0 === null ? [] : section(SECTION.xcr0, msrRow(observed(0, seen.xcr0)))),
    ...(write === null ? [] : section(SECTION.write, msrRow(write))),
  ];
  const flags =
    (seen.xcr0 === null ? 0 : RECORD_FLAG.xstate) |
    (record.cpuidCapped ? RECORD_FLAG.cpuidCapped : 0) |
    (record.bootProtocol === 'pvh' ? RECORD_FLAG.pvh : 0);
  const length = RECORD_HEADER_BYTES + body.length * 4 + CHECKSUM_BYTES;
  return seal([RECORD_MAGIC, ABI_VERSION, length, seen.index, seen.sequence, flags, ...body]);
}

/** Words with their checksum behind them. */
export function seal(words: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(words.length * 4 + CHECKSUM_BYTES));
  words.forEach((word, i) => {
    view.setUint32(i * 4, word, true);
  });
  recordChecksum(view, words.length * 4).forEach((sum, i) => {
    view.setUint32((words.length + i) * 4, sum, true);
  });
  return new Uint8Array(view.buffer);
}

const section = (type: number, payload: readonly number[]): number[] => [type, payload.length * 4, ...payload];

/** Number, indices, values, faults. */
const msrsOf = (msrs: readonly ObservedMsr[]): number[] => [
  msrs.length,
  ...msrs.map(({ index }) => index),
  ...msrs.flatMap(halvesOf),
  ...msrs.flatMap((msr) => ('fault' in msr ? [msr.index, vectorOf(msr)] : [])),
];

const msrRow = (msr: ObservedMsr): number[] => [msr.index, vectorOf(msr), ...halvesOf(msr)];

const observed = (index: number, outcome: bigint | FaultClass): ObservedMsr =>
  typeof outcome === 'string' ? { index, fault: outcome } : { index, value: outcome };

function halvesOf(msr: ObservedMsr): number[] {
  return 'fault' in msr ? [0, 0] : [Number(msr.value & 0xffff_ffffn), Number(msr.value >> 32n)];
}

function vectorOf(msr: ObservedMsr): number {
  if (!('fault' in msr)) return FAULT.none;
  return msr.fault === '#GP' ? FAULT.gp : FAULT.ud;
}
