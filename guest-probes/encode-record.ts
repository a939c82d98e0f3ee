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
    ...[seen.cr0, seen.cr4, seen.apicId, 0],
    ...[outcomeRow(efer, seen.efer), outcomeRow(apicBase, seen.apicBase), outcomeRow(xss, seen.xss)].flat(),
  ];
  const rows = seen.cpuid.flatMap((row) => [row.leaf, row.subleaf ?? 0, row.eax, row.ebx, row.ecx, row.edx]);
  const body = [
    ...section(SECTION.registers, registers),
    ...section(SECTION.cpuid, rows),
    ...section(SECTION.msrs, seen.msrs.flatMap(msrRow)),
    ...(seen.xcr0 === null ? [] : section(SECTION.xcr0, outcomeRow(0, seen.xcr0))),
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

const msrRow = (msr: ObservedMsr): number[] => outcomeRow(msr.index, 'fault' in msr ? msr.fault : msr.value);

function outcomeRow(index: number, outcome: bigint | FaultClass): number[] {
  if (typeof outcome === 'string') return [index, outcome === '#GP' ? FAULT.gp : FAULT.ud, 0, 0];
  return [index, FAULT.none, Number(outcome & 0xffff_ffffn), Number(outcome >> 32n)];
}
