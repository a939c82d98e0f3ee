/** Hand-written codecs between the kernel's structs and our values (a generic decoder costs 300 times as much). */

import { type CpuidRow, CpuidTable } from '../../corpora/cpuid.js';
import { MachineError } from '../../corpora/errors.js';
import type { MsrValue } from '../../corpora/identity.js';
import { CAPABILITIES, type Capability } from './capability.js';
import { KVM } from './ioctl.js';
import type { VmClock } from './kvm.js';
import { LAYOUT } from './layout.js';
import {
  CONTROL_REGISTERS,
  type DescriptorTable,
  GENERAL_REGISTERS,
  type Regs,
  SEGMENTS,
  type Segment,
  type Sregs,
} from './registers.js';

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export function decodeRegs(bytes: Uint8Array): Regs {
  const view = viewOf(bytes);
  return Object.fromEntries(GENERAL_REGISTERS.map((name, i) => [name, view.getBigUint64(i * 8, true)])) as Regs;
}

export function encodeRegs(regs: Regs): Uint8Array {
  const bytes = new Uint8Array(LAYOUT.kvm_regs.size);
  const view = viewOf(bytes);
  GENERAL_REGISTERS.forEach((name, i) => {
    view.setBigUint64(i * 8, regs[name], true);
  });
  return bytes;
}

const SEGMENT = LAYOUT.kvm_segment.offsets;
const SEGMENT_BYTES = ['type', 'present', 'dpl', 'db', 's', 'l', 'g', 'avl', 'unusable'] as const;

const decodeSegment = (view: DataView, at: number): Segment => ({
  base: view.getBigUint64(at, true),
  limit: view.getUint32(at + SEGMENT.limit, true),
  selector: view.getUint16(at + SEGMENT.selector, true),
  type: view.getUint8(at + SEGMENT.type),
  present: view.getUint8(at + SEGMENT.present),
  dpl: view.getUint8(at + SEGMENT.dpl),
  db: view.getUint8(at + SEGMENT.db),
  s: view.getUint8(at + SEGMENT.s),
  l: view.getUint8(at + SEGMENT.l),
  g: view.getUint8(at + SEGMENT.g),
  avl: view.getUint8(at + SEGMENT.avl),
  unusable: view.getUint8(at + SEGMENT.unusable),
});

function encodeSegment(view: DataView, at: number, segment: Segment): void {
  view.setBigUint64(at, segment.base, true);
  view.setUint32(at + SEGMENT.limit, segment.limit, true);
  view.setUint16(at + SEGMENT.selector, segment.selector, true);
  for (const name of SEGMENT_BYTES) view.setUint8(at + SEGMENT[name], segment[name]);
}

const SREGS = LAYOUT.kvm_sregs.offsets;
const controlOffset = (name: (typeof CONTROL_REGISTERS)[number]): number =>
  SREGS[name === 'apicBase' ? 'apic_base' : name];

const decodeTable = (view: DataView, at: number): DescriptorTable => ({
  base: view.getBigUint64(at, true),
  limit: view.getUint16(at + LAYOUT.kvm_dtable.offsets.limit, true),
});

export function decodeSregs(bytes: Uint8Array): Sregs {
  const view = viewOf(bytes);
  const segment = (name: (typeof SEGMENTS)[number]): Segment => decodeSegment(view, SREGS[name]);
  const control = (name: (typeof CONTROL_REGISTERS)[number]): bigint => view.getBigUint64(controlOffset(name), true);
  const bitmap = (word: number): bigint => view.getBigUint64(SREGS.interrupt_bitmap + word * 8, true);
  return {
    ...{ cs: segment('cs'), ds: segment('ds'), es: segment('es'), fs: segment('fs'), gs: segment('gs') },
    ...{ ss: segment('ss'), tr: segment('tr'), ldt: segment('ldt') },
    ...{ cr0: control('cr0'), cr2: control('cr2'), cr3: control('cr3'), cr4: control('cr4'), cr8: control('cr8') },
    ...{ efer: control('efer'), apicBase: control('apicBase') },
    gdt: decodeTable(view, SREGS.gdt),
    idt: decodeTable(view, SREGS.idt),
    interruptBitmap: [bitmap(0), bitmap(1), bitmap(2), bitmap(3)],
  };
}

export function encodeSregs(sregs: Sregs): Uint8Array {
  const bytes = new Uint8Array(LAYOUT.kvm_sregs.size);
  const view = viewOf(bytes);
  for (const name of SEGMENTS) encodeSegment(view, SREGS[name], sregs[name]);
  for (const name of CONTROL_REGISTERS) view.setBigUint64(controlOffset(name), sregs[name], true);
  for (const name of ['gdt', 'idt'] as const) {
    view.setBigUint64(SREGS[name], sregs[name].base, true);
    view.setUint16(SREGS[name] + LAYOUT.kvm_dtable.offsets.limit, sregs[name].limit, true);
  }
  sregs.interruptBitmap.forEach((word, i) => {
    view.setBigUint64(SREGS.interrupt_bitmap + i * 8, word, true);
  });
  return bytes;
}

const ENTRY = LAYOUT.kvm_cpuid_entry2.offsets;
const ENTRIES = LAYOUT.kvm_cpuid2.offsets.entries;
const entryAt = (i: number): number => ENTRIES + i * LAYOUT.kvm_cpuid_entry2.size;
/** A value of `flags` that no kernel writes: marks an entry that the kernel left alone. */
const UNTOUCHED = 0xffff_ffff;

/** A `kvm_cpuid2` with room for `entries`, none of them filled. */
export function emptyCpuid2(entries: number = KVM.KVM_MAX_CPUID_ENTRIES): Uint8Array {
  const bytes = new Uint8Array(entryAt(entries));
  const view = viewOf(bytes);
  view.setUint32(0, entries, true);
  // The rest stays zero: KVM_GET_EMULATED_CPUID refuses entries whose padding is not.
  for (let i = 0; i < entries; i++) view.setUint32(entryAt(i) + ENTRY.flags, UNTOUCHED, true);
  return bytes;
}

export function encodeCpuid2(table: CpuidTable): Uint8Array {
  const bytes = new Uint8Array(entryAt(table.size));
  const view = viewOf(bytes);
  view.setUint32(0, table.size, true);
  table.rows.forEach((row, i) => {
    const at = entryAt(i);
    view.setUint32(at + ENTRY.function, row.leaf, true);
    view.setUint32(at + ENTRY.index, row.subleaf ?? 0, true);
    view.setUint32(at + ENTRY.flags, row.subleaf === null ? 0 : KVM.KVM_CPUID_FLAG_SIGNIFCANT_INDEX, true);
    view.setUint32(at + ENTRY.eax, row.eax, true);
    view.setUint32(at + ENTRY.ebx, row.ebx, true);
    view.setUint32(at + ENTRY.ecx, row.ecx, true);
    view.setUint32(at + ENTRY.edx, row.edx, true);
  });
  return bytes;
}

/**
 * The rows that the kernel wrote into a `kvm_cpuid2` of `emptyCpuid2`. Its `nent` is not believed alone: KVM_GET_CPUID2 of Linux 5.10
 * and 6.1 leaves it as it was passed, so the rows end at the first one left alone. Throws `MachineError` on two rows at one place.
 */
export function decodeCpuid2(bytes: Uint8Array): CpuidTable {
  const view = viewOf(bytes);
  const rows: CpuidRow[] = [];
  for (let i = 0; i < view.getUint32(0, true); i++) {
    const at = entryAt(i);
    const flags = view.getUint32(at + ENTRY.flags, true);
    if (flags === UNTOUCHED) break;
    rows.push({
      leaf: view.getUint32(at + ENTRY.function, true),
      subleaf: flags & KVM.KVM_CPUID_FLAG_SIGNIFCANT_INDEX ? view.getUint32(at + ENTRY.index, true) : null,
      eax: view.getUint32(at + ENTRY.eax, true),
      ebx: view.getUint32(at + ENTRY.ebx, true),
      ecx: view.getUint32(at + ENTRY.ecx, true),
      edx: view.getUint32(at + ENTRY.edx, true),
    });
  }
  try {
    return new CpuidTable(rows);
  } catch (cause) {
    throw new MachineError('kvm-cpuid-table', `KVM answered with a malformed table: ${(cause as Error).message}`, {
      cause,
    });
  }
}

const MSR_ENTRIES = LAYOUT.kvm_msrs.offsets.entries;
const msrAt = (i: number): number => MSR_ENTRIES + i * LAYOUT.kvm_msr_entry.size;

export function encodeMsrs(values: readonly MsrValue[]): Uint8Array {
  const bytes = new Uint8Array(msrAt(values.length));
  const view = viewOf(bytes);
  view.setUint32(0, values.length, true);
  values.forEach(({ index, value }, i) => {
    view.setUint32(msrAt(i), index, true);
    view.setBigUint64(msrAt(i) + LAYOUT.kvm_msr_entry.offsets.data, value, true);
  });
  return bytes;
}

/** The first `count` entries of a `kvm_msrs`. */
export function decodeMsrs(bytes: Uint8Array, count: number): MsrValue[] {
  const view = viewOf(bytes);
  return Array.from({ length: count }, (_, i) => ({
    index: view.getUint32(msrAt(i), true),
    value: view.getBigUint64(msrAt(i) + LAYOUT.kvm_msr_entry.offsets.data, true),
  }));
}

const CLOCK = LAYOUT.kvm_clock_data.offsets;

export function decodeClock(bytes: Uint8Array): VmClock {
  const view = viewOf(bytes);
  return {
    clock: view.getBigUint64(CLOCK.clock, true),
    flags: view.getUint32(CLOCK.flags, true),
    realtime: view.getBigUint64(CLOCK.realtime, true),
    hostTsc: view.getBigUint64(CLOCK.host_tsc, true),
  };
}

export function encodeClock({ clock, flags, realtime, hostTsc }: VmClock): Uint8Array {
  const bytes = new Uint8Array(LAYOUT.kvm_clock_data.size);
  const view = viewOf(bytes);
  view.setBigUint64(CLOCK.clock, clock, true);
  view.setUint32(CLOCK.flags, flags, true);
  view.setBigUint64(CLOCK.realtime, realtime, true);
  view.setBigUint64(CLOCK.host_tsc, hostTsc, true);
  return bytes;
}

/** `kvm_enable_cap` with its arguments. */
export function encodeEnableCap(capability: Capability, args: readonly bigint[]): Uint8Array {
  const bytes = new Uint8Array(LAYOUT.kvm_enable_cap.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(LAYOUT.kvm_enable_cap.offsets.cap, CAPABILITIES[capability], true);
  args.forEach((arg, i) => {
    view.setBigUint64(LAYOUT.kvm_enable_cap.offsets.args + i * 8, arg, true);
  });
  return bytes;
}
