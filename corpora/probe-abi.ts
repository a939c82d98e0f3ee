/**
 * The probe ABI: everything that a probe guest and its monitor must agree on. The assembly takes its constants from here
 * (guest-probes/abi-include.ts), so this file is the only place where they stand.
 *
 * A probe is one ELF32 image, booted by multiboot 1 or PVH, in 32-bit protected mode without paging.
 *
 * 1. It may be given a **request** (`encodeProbeRequest`): the first multiboot module, or the first PVH module. No module, or
 *    one that is no request: an empty one.
 * 2. It dumps one **record** per vCPU, number 0 first, to the probe port, then waits for a command.
 * 3. A **command** is one byte read from COM1 (polled: LSR bit 0, then the data port). Unknown bytes are ignored.
 *    The further vCPUs of a request carry it out too, one after the other.
 *
 * Output of a record. `IN AL, PORT.probe` asks what the port is. A monitor that answers `PROBE_DOORBELL` then gets one
 * 4-byte OUT of the record's guest-physical address and copies the record from guest memory, its length from the header
 * (bounded by `RECORD_CAP`). Any other answer (QEMU's isa-debugcon answers 0xe9) gets the record by `REP OUTSB`. Both carry
 * the same bytes. The doorbell exists because KVM's emulator makes one exit of each byte of a string output (measured: 2.7 kB
 * took 20 ms, the doorbell 8 us). A monitor must take byte writes and may offer the doorbell.
 *
 * Record, little-endian, all fields u32 unless said otherwise, every length a multiple of 4:
 *
 *     0   magic        RECORD_MAGIC ("GABI")
 *     4   version      ABI_VERSION
 *     8   length       of the whole record, checksum included
 *     12  vCPU number  0 is the boot processor, then the order of the request's APIC ids
 *     16  sequence     which dump of this boot, from 0
 *     20  flags        RECORD_FLAG
 *     24  sections     each: type (SECTION), payload length, payload; in ascending order of type, each at most once
 *     -8  checksum     two words: `a` and `b` of `recordChecksum` over all words before it
 *
 *     registers  CR0, CR4, APIC id (CPUID 1.EBX[31:24]), then MSRs: those of REGISTER_MSRS
 *     cpuid      rows of 24 bytes: leaf, subleaf (ECX as asked), EAX, EBX, ECX, EDX; in the order asked
 *     msrs       MSRs: those of the request, in its order
 *     xcr0       an MSR row: 0, status of XSETBV or XGETBV, XCR0; in every dump from COMMAND.xstate on
 *     write      an MSR row: the index, status and value of COMMAND.writeMsr; only in the dump that it makes, of vCPUs that wrote
 *
 * **MSRs** are their number, their indices, each once, their values of 8 bytes in the same order (0 after a fault), then for each that faulted
 * its index and the vector of the exception (FAULT). An **MSR row** is 16 bytes: index, status (FAULT: 0, or the vector), value.
 *
 * A KVM that emulates its guest takes 0.5 us for each instruction and 0.35 us more for each access to memory (measured): the layout is the one
 * that a guest can write and sum with the fewest.
 */
import type { MsrValue } from './identity.js';

/** Goes up with every change of meaning. Both sides refuse another version. */
export const ABI_VERSION = 3;

/** "GABI", the first word of a record. */
export const RECORD_MAGIC = 0x49424147;
/** "GARQ", the first word of a request. */
export const REQUEST_MAGIC = 0x51524147;

/** I/O ports. */
export const PORT = {
  /** Records. QEMU: `-device isa-debugcon,iobase=0xe9,chardev=...`. */
  probe: 0xe9,
  /** One byte ends the machine: `SHUTDOWN_CODE`. QEMU: `-device isa-debug-exit,iobase=0xf4,iosize=4`. */
  debugExit: 0xf4,
  /** COM1 data port: commands. */
  com1: 0x3f8,
  /** COM1 line status: bit 0 (0x01) = a byte waits. */
  com1LineStatus: 0x3fd,
  /** Reset control register of the PIIX3/ICH9: 0x02 then 0x06. */
  resetControl: 0xcf9,
  /** Keyboard controller command port: 0xfe pulses the reset line. */
  keyboard: 0x64,
} as const;

/** What a monitor with the doorbell answers to `IN AL, PORT.probe`. */
export const PROBE_DOORBELL = 0xd0;

/** The byte written to `PORT.debugExit` on `COMMAND.shutdown`. QEMU then exits with (code << 1) | 1 = 33. */
export const SHUTDOWN_CODE = 0x10;

/** Command bytes (ASCII, so that a person can type them on a serial console). */
export const COMMAND = {
  /** `d`: dump again. */
  dump: 0x64,
  /** `x`: set CR4.OSXSAVE and XCR0 to all that CPUID 0xD.0 offers, then dump; only a dump where there is no XSAVE. */
  xstate: 0x78,
  /** `w`, followed by 4 bytes of vCPU number, 4 of MSR index and 8 of value, little-endian (`encodeWrite`): WRMSR on that vCPU, or on all; then dump. */
  writeMsr: 0x77,
  /** `r`: reset by `PORT.resetControl`. */
  resetControl: 0x72,
  /** `k`: reset by `PORT.keyboard`. */
  resetKeyboard: 0x6b,
  /** `t`: triple fault (empty IDT, then UD2). */
  tripleFault: 0x74,
  /** `i`: INIT to itself through the local APIC's interrupt command register. */
  init: 0x69,
  /** `q`: shut down through `PORT.debugExit`, then HLT with interrupts off. */
  shutdown: 0x71,
} as const;

/** In place of a vCPU's number: every one. */
export const ALL_VCPUS = 0xffffffff;

/** `COMMAND.writeMsr` with all that follows it. */
export function encodeWrite({ index, value }: MsrValue, vcpu: number = ALL_VCPUS): Uint8Array {
  const view = new DataView(new ArrayBuffer(17));
  view.setUint8(0, COMMAND.writeMsr);
  view.setUint32(1, vcpu, true);
  view.setUint32(5, index, true);
  view.setBigUint64(9, value, true);
  return new Uint8Array(view.buffer);
}

/** Bits of a record's flags. */
export const RECORD_FLAG = {
  /** CR4.OSXSAVE and XCR0 were set by the probe before this dump (a second pass). */
  xstate: 0x1,
  /** A maximum or an end was absurd, or the rows reached `CPUID_ROW_CAP`: the sweep was cut short. */
  cpuidCapped: 0x2,
  /** Booted by PVH, otherwise by multiboot. */
  pvh: 0x4,
} as const;

/** Section types, in the order in which they stand in a record. */
export const SECTION = { registers: 1, cpuid: 2, msrs: 3, xcr0: 4, write: 5 } as const;

/** Status of an outcome: 0, or the vector of the exception that the instruction raised. */
export const FAULT = { none: 0, ud: 6, gp: 13 } as const;

export const RECORD_HEADER_BYTES = 24;
export const SECTION_HEADER_BYTES = 8;
export const CPUID_ROW_BYTES = 24;
export const MSR_ROW_BYTES = 16;
/** An MSR that faulted: index and vector. */
export const FAULT_BYTES = 8;
export const CHECKSUM_BYTES = 8;
export const CHECKSUM_BLOCK_SHIFT = 4;
/** Words. */
export const CHECKSUM_BLOCK = 1 << CHECKSUM_BLOCK_SHIFT;

/** MSRs that are read whatever the request: EFER, IA32_APIC_BASE, IA32_XSS. */
export const REGISTER_MSRS = [0xc0000080, 0x1b, 0xda0] as const;
/** Of the registers section, before its MSRs. */
export const REGISTERS_BYTES = 12;

/** Most rows of a record's CPUID section. */
export const CPUID_ROW_CAP = 1024;
/** Most leaves of one range, and most subleaves of one leaf; anything beyond is absurd and sets `RECORD_FLAG.cpuidCapped`. */
export const CPUID_RANGE_CAP = 64;
/** Most MSRs of a request. */
export const MSR_CAP = 4096;
/** Most APIC ids of a request; each is below 255, because the probe leaves the APIC in xAPIC mode. */
export const VCPU_CAP = 254;

/** Bytes of so many MSRs, all of which fault. */
function msrsCap(count: number): number {
  return 4 + count * (4 + 8 + FAULT_BYTES);
}

/** No record is longer. */
export const RECORD_CAP =
  RECORD_HEADER_BYTES +
  5 * SECTION_HEADER_BYTES +
  REGISTERS_BYTES +
  msrsCap(REGISTER_MSRS.length) +
  CPUID_ROW_CAP * CPUID_ROW_BYTES +
  msrsCap(MSR_CAP) +
  2 * MSR_ROW_BYTES +
  CHECKSUM_BYTES;

export const REQUEST_HEADER_BYTES = 16;

/** What a probe is asked to do beyond dumping CPUID. */
export interface ProbeRequest {
  /** MSR indices to read, in this order. */
  readonly msrs: readonly number[];
  /** APIC ids of the further vCPUs, numbered from 1 in this order, to be started by INIT-SIPI-SIPI. */
  readonly apicIds?: readonly number[];
}

/**
 * A request as the module's bytes: REQUEST_MAGIC, ABI_VERSION, count of MSRs, count of APIC ids, the indices, the ids; all u32.
 * Throws `RangeError` beyond `MSR_CAP` or `VCPU_CAP`.
 */
export function encodeProbeRequest({ msrs, apicIds = [] }: ProbeRequest): Uint8Array {
  if (msrs.length > MSR_CAP) throw new RangeError(`${msrs.length} MSRs, a probe takes ${MSR_CAP}`);
  if (apicIds.length > VCPU_CAP) throw new RangeError(`${apicIds.length} APIC ids, a probe takes ${VCPU_CAP}`);
  const words = [REQUEST_MAGIC, ABI_VERSION, msrs.length, apicIds.length, ...msrs, ...apicIds];
  const view = new DataView(new ArrayBuffer(words.length * 4));
  words.forEach((word, i) => {
    view.setUint32(i * 4, word, true);
  });
  return new Uint8Array(view.buffer);
}

/**
 * The record checksum, two sums modulo 2^32: `a` adds the words; `b` adds `a` after each block of CHECKSUM_BLOCK words, counted from the
 * end. Any change within one word changes `a`; blocks that change places, and words that move from one to another, change `b`.
 * `length` is in bytes, a multiple of 4.
 */
export function recordChecksum(view: DataView, length: number): readonly [a: number, b: number] {
  let a = 0;
  let b = 0;
  for (let at = 0; at < length; ) {
    a = (a + view.getUint32(at, true)) | 0;
    at += 4;
    if ((length - at) % (4 * CHECKSUM_BLOCK) === 0) b = (b + a) | 0;
  }
  return [a >>> 0, b >>> 0];
}
