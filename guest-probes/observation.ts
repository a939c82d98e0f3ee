/** Decodes the records of a probe (corpora/probe-abi.ts) into observations; refuses everything that is not exactly one. */
import { type CpuidRow, isIndexedLeaf } from '../corpora/cpuid.js';
import { hexShort } from '../corpora/hex.js';
import type { FaultClass, ObservedMsr, VcpuObservation } from '../corpora/observation.js';
import {
  CPUID_ROW_BYTES,
  FAULT,
  FAULT_BYTES,
  MSR_ROW_BYTES,
  RECORD_FLAG,
  REGISTER_MSRS,
  REGISTERS_BYTES,
  SECTION,
} from '../corpora/probe-abi.js';
import { checkFrame, refuse, splitSections } from './record-frame.js';

/** A record: the observation and what else the probe tells of itself. */
export interface ProbeRecord {
  readonly observation: VcpuObservation;
  readonly bootProtocol: 'multiboot' | 'pvh';
  /** The CPUID sweep was cut short because a maximum was absurd. */
  readonly cpuidCapped: boolean;
  /** What became of `COMMAND.writeMsr`, in the dump that it makes: the value given, or the fault of WRMSR. */
  readonly write: ObservedMsr | null;
}

const KNOWN_FLAGS = Object.values(RECORD_FLAG).reduce((all, flag) => all | flag, 0);

/**
 * Decodes one whole record. Throws `MachineError` (`bad-probe-record`) on any other version, length, order, checksum or unknown
 * value.
 */
export function decodeRecord(bytes: Uint8Array): ProbeRecord {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  checkFrame(view);
  const flags = view.getUint32(20, true);
  if (flags & ~KNOWN_FLAGS) throw refuse(`unknown flags ${hexShort(flags)}`);
  const sections = splitSections(view, SECTION.write);
  const registers = decodeRegisters(take(sections, SECTION.registers));
  const cpuid = decodeCpuid(take(sections, SECTION.cpuid));
  const msrs = decodeMsrs(take(sections, SECTION.msrs));
  const xcr0 = sections.get(SECTION.xcr0);
  const write = sections.get(SECTION.write);
  if ((xcr0 !== undefined) !== ((flags & RECORD_FLAG.xstate) !== 0)) throw refuse('XCR0 section and flag disagree');
  return {
    observation: {
      index: view.getUint32(12, true),
      sequence: view.getUint32(16, true),
      ...registers,
      xcr0: xcr0 ? outcome(decodeOneRow(xcr0)) : null,
      cpuid,
      msrs,
    },
    bootProtocol: flags & RECORD_FLAG.pvh ? 'pvh' : 'multiboot',
    cpuidCapped: (flags & RECORD_FLAG.cpuidCapped) !== 0,
    write: write ? decodeOneRow(write) : null,
  };
}

/** Of a record whose guest swept all of CPUID. Throws as `decodeRecord`: of what was not read no comparison says anything. */
export function wholeObservation({ observation, cpuidCapped }: ProbeRecord): VcpuObservation {
  if (cpuidCapped) throw refuse('the CPUID sweep was cut short: a maximum is absurd');
  return observation;
}

function take(sections: Map<number, DataView>, type: number): DataView {
  const section = sections.get(type);
  if (!section) throw refuse(`section ${type} is missing`);
  return section;
}

type Registers = Pick<VcpuObservation, 'apicId' | 'cr0' | 'cr4' | 'efer' | 'apicBase' | 'xss'>;

function decodeRegisters(view: DataView): Registers {
  if (view.byteLength < REGISTERS_BYTES) throw refuse(`${view.byteLength} bytes of registers`);
  const msrs = decodeMsrs(
    new DataView(view.buffer, view.byteOffset + REGISTERS_BYTES, view.byteLength - REGISTERS_BYTES),
  );
  if (msrs.length !== REGISTER_MSRS.length || msrs.some((msr, i) => msr.index !== REGISTER_MSRS[i]))
    throw refuse('the register MSRs are others');
  const [efer, apicBase, xss] = msrs.map(outcome);
  return {
    cr0: view.getUint32(0, true),
    cr4: view.getUint32(4, true),
    apicId: view.getUint32(8, true),
    efer: efer!,
    apicBase: apicBase!,
    xss: xss!,
  };
}

function decodeCpuid(view: DataView): CpuidRow[] {
  if (view.byteLength % CPUID_ROW_BYTES !== 0) throw refuse(`${view.byteLength} bytes of cpuid rows`);
  const rows = Array.from({ length: view.byteLength / CPUID_ROW_BYTES }, (_, i): CpuidRow => {
    const at = i * CPUID_ROW_BYTES;
    const leaf = view.getUint32(at, true);
    const subleaf = view.getUint32(at + 4, true);
    const indexed = isIndexedLeaf(leaf);
    if (!indexed && subleaf !== 0) throw refuse(`leaf ${hexShort(leaf)} was asked with ECX ${subleaf}`);
    return {
      leaf,
      subleaf: indexed ? subleaf : null,
      eax: view.getUint32(at + 8, true),
      ebx: view.getUint32(at + 12, true),
      ecx: view.getUint32(at + 16, true),
      edx: view.getUint32(at + 20, true),
    };
  });
  const places = new Set(rows.map((row) => `${row.leaf}.${row.subleaf}`));
  if (places.size !== rows.length) throw refuse('a CPUID place stands twice');
  return rows;
}

/** Number, indices, values, faults: whoever faulted stands among the faults, in the same order, and has no value. */
function decodeMsrs(view: DataView): ObservedMsr[] {
  const count = view.byteLength < 4 ? 0 : view.getUint32(0, true);
  const values = 4 + 4 * count;
  const faults = values + 8 * count;
  const end = view.byteLength;
  if (end < faults || (end - faults) % FAULT_BYTES !== 0) throw refuse(`${end} bytes of ${count} MSRs`);
  let fault = faults;
  const msrs = Array.from({ length: count }, (_, i): ObservedMsr => {
    const index = view.getUint32(4 + 4 * i, true);
    const value = view.getBigUint64(values + 8 * i, true);
    if (fault === end || view.getUint32(fault, true) !== index) return { index, value };
    fault += FAULT_BYTES;
    return outcomeOf(index, view.getUint32(fault - 4, true), value);
  });
  if (fault !== end) throw refuse(`MSR ${hexShort(view.getUint32(fault, true))} faulted and was not read`);
  if (new Set(msrs.map(({ index }) => index)).size !== count) throw refuse('an MSR stands twice');
  return msrs;
}

function decodeOneRow(view: DataView): ObservedMsr {
  if (view.byteLength !== MSR_ROW_BYTES) throw refuse(`${view.byteLength} bytes where one MSR row stands`);
  const [index, status, value] = [view.getUint32(0, true), view.getUint32(4, true), view.getBigUint64(8, true)];
  return status === FAULT.none ? { index, value } : outcomeOf(index, status, value);
}

/** Of an MSR that faulted. */
function outcomeOf(index: number, vector: number, value: bigint): ObservedMsr {
  if (value !== 0n) throw refuse(`MSR ${hexShort(index)} has both a fault and a value`);
  return { index, fault: faultClass(vector) };
}

function faultClass(status: number): FaultClass {
  if (status === FAULT.gp) return '#GP';
  if (status === FAULT.ud) return '#UD';
  throw refuse(`unknown fault ${status}`);
}

const outcome = (msr: ObservedMsr): bigint | FaultClass => ('fault' in msr ? msr.fault : msr.value);
