/** Decodes the records of the witness probe (corpora/witness-abi.ts); refuses everything that is not exactly one. */
import { hexShort } from '../corpora/hex.js';
import { RECORD_FLAG } from '../corpora/probe-abi.js';
import {
  CHANGE,
  CHANGE_BYTES,
  CHANGE_CAP,
  RECORD_FLAG_WITNESS,
  WITNESS_COUNTERS,
  WITNESS_SECTION,
} from '../corpora/witness-abi.js';
import { checkFrame, refuse, splitSections } from './record-frame.js';

export type ChangeKind = keyof typeof CHANGE;

/** Something that read otherwise than the time before. */
export interface WitnessedChange {
  readonly kind: ChangeKind;
  /** CPUID leaf, MSR index, or guest-physical address. */
  readonly where: number;
  /** As `corpora/witness-abi.ts` says for each kind. */
  readonly part: number;
  readonly first: bigint;
  readonly second: bigint;
  /** In which it was seen. */
  readonly pass: bigint;
}

export type WitnessCounters = Readonly<Record<(typeof WITNESS_COUNTERS)[number], bigint>>;

/** What one vCPU witnessed since it started. */
export interface WitnessRecord extends WitnessCounters {
  /** Number of the vCPU. */
  readonly index: number;
  /** Which record of this boot, from 0. */
  readonly sequence: number;
  readonly bootProtocol: 'multiboot' | 'pvh';
  /** The first of `changes`. */
  readonly seen: readonly WitnessedChange[];
}

const KNOWN_FLAGS = RECORD_FLAG_WITNESS | RECORD_FLAG.pvh;
const KINDS = new Map(Object.entries(CHANGE).map(([name, number]) => [number as number, name as ChangeKind]));

/** True where a record says that a witness wrote it. */
export const isWitnessRecord = (bytes: Uint8Array): boolean => ((bytes[20] ?? 0) & RECORD_FLAG_WITNESS) !== 0;

/** Throws `MachineError` (`bad-probe-record`) on anything but one whole record of a witness. */
export function decodeWitness(bytes: Uint8Array): WitnessRecord {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  checkFrame(view);
  const flags = view.getUint32(20, true);
  if ((flags & RECORD_FLAG_WITNESS) === 0 || flags & ~KNOWN_FLAGS) throw refuse(`flags ${hexShort(flags)}: no witness`);
  const sections = splitSections(view, WITNESS_SECTION.changes);
  const [counters, changes] = [sections.get(WITNESS_SECTION.counters), sections.get(WITNESS_SECTION.changes)];
  if (!counters || !changes || sections.size !== 2) throw refuse(`sections ${[...sections.keys()].join()}`);
  const counted = decodeCounters(counters);
  const seen = decodeChanges(changes);
  if (BigInt(seen.length) !== (counted.changes < CHANGE_CAP ? counted.changes : BigInt(CHANGE_CAP)))
    throw refuse(`${seen.length} rows for ${counted.changes} changes`);
  return {
    index: view.getUint32(12, true),
    sequence: view.getUint32(16, true),
    bootProtocol: flags & RECORD_FLAG.pvh ? 'pvh' : 'multiboot',
    ...counted,
    seen,
  };
}

function decodeCounters(view: DataView): WitnessCounters {
  if (view.byteLength !== 8 * WITNESS_COUNTERS.length) throw refuse(`${view.byteLength} bytes of counters`);
  return Object.fromEntries(
    WITNESS_COUNTERS.map((name, i) => [name, view.getBigUint64(8 * i, true)]),
  ) as unknown as WitnessCounters;
}

function decodeChanges(view: DataView): WitnessedChange[] {
  if (view.byteLength % CHANGE_BYTES !== 0) throw refuse(`${view.byteLength} bytes of changes`);
  return Array.from({ length: view.byteLength / CHANGE_BYTES }, (_, i) => {
    const at = i * CHANGE_BYTES;
    const kind = KINDS.get(view.getUint32(at, true));
    if (!kind || view.getUint32(at + 12, true) !== 0) throw refuse(`change of kind ${view.getUint32(at, true)}`);
    return {
      kind,
      where: view.getUint32(at + 4, true),
      part: view.getUint32(at + 8, true),
      first: view.getBigUint64(at + 16, true),
      second: view.getBigUint64(at + 24, true),
      pass: view.getBigUint64(at + 32, true),
    };
  });
}

const REGISTERS = ['EAX', 'EBX', 'ECX', 'EDX'];

/** A change in words: `vCPU 1: MSR 0x174 was 0x10, is 0x0 (pass 1234)`. */
export function changeText(vcpu: number, { kind, where, part, first, second, pass }: WitnessedChange): string {
  const what = {
    cpuid: () => `CPUID ${hexShort(where)}.${hexShort(part & 0x3fff_ffff)}.${REGISTERS[part >>> 30]}`,
    msr: () => `MSR ${hexShort(where)}${part ? ` (fault ${part & 0xff}, then ${part >>> 8})` : ''}`,
    xcr0: () => 'XCR0',
    tsc: () => 'TSC',
    page: () => `memory at ${hexShort(where)} (page ${part} of its slice)`,
  }[kind]();
  return `vCPU ${vcpu}: ${what} was 0x${first.toString(16)}, is 0x${second.toString(16)} (pass ${pass})`;
}
