/**
 * The witness probe's ABI: what it is asked, how its records read. Framing, ports and checksums are those of probe-abi.ts; the assembly
 * takes its constants from here too.
 *
 * Every vCPU loops. It reads one CPUID row, one MSR and (where asked) XCR0 in each **pass**, compares each with what it read the time
 * before, and visits some pages of its own slice of memory: it verifies the words that it wrote there a **lap** ago, writes those of this
 * lap, and looks at the TSC. The number of the lap and the place in it stay in registers, which travel apart from memory: a memory that
 * is older than the registers shows at the next page.
 *
 * The first record of each vCPU comes once all have read everything once; further ones on `COMMAND.dump`. `COMMAND.shutdown` ends it.
 *
 * Record: header and checksum of probe-abi.ts with `RECORD_FLAG_WITNESS`, then two sections:
 *
 *     counters  `WITNESS_COUNTERS` in order, u64 each
 *     changes   rows of `CHANGE_BYTES`, the first `CHANGE_CAP` that were seen:
 *               u32 kind (CHANGE), u32 where, u32 part, u32 0, u64 first, u64 second, u64 pass
 *
 *     kind  where              part                                first, second
 *     cpuid leaf               register (0 EAX to 3 EDX) in bits   the register before and after
 *                              31:30, subleaf below
 *     msr   index              fault before | fault after << 8     the value before and after
 *     xcr0  0                  0                                   the value before and after
 *     tsc   0                  0                                   the TSC before and after, where it ran back
 *     page  address of a word  number of the page in the slice     the word that was written, the word found
 */

/** "GAWQ", the first word of a witness's request. */
export const WITNESS_REQUEST_MAGIC = 0x51574147;
/** In a record's flags: it is a witness's. */
export const RECORD_FLAG_WITNESS = 0x8;

/** Commands beside `COMMAND.dump` and `COMMAND.shutdown`. */
export const WITNESS_COMMAND = {
  /** `p`, then 4 bytes: how many PAUSE instructions stand between two pages. */
  pace: 0x70,
  /** `z`: every vCPU forgets its longest gap. */
  forgetGap: 0x7a,
} as const;

/** Sections, after those of probe-abi.ts. */
export const WITNESS_SECTION = { counters: 6, changes: 7 } as const;

export const CHANGE = { cpuid: 1, msr: 2, xcr0: 3, tsc: 4, page: 5 } as const;
export const CHANGE_BYTES = 40;
/** Most rows of a record's changes; the counters go on. */
export const CHANGE_CAP = 32;

/** What a record counts, in this order. */
export const WITNESS_COUNTERS = [
  /** Laps over the slice that are complete. */
  'laps',
  /** Pages of the slice in this lap. */
  'pages',
  /** Pages written since the start. */
  'visits',
  'passes',
  /** Changes seen, rows or not. */
  'changes',
  /** Words that did not hold what was written: part of `changes`. */
  'lostWrites',
  /** The TSC at the record. */
  'tsc',
  /** The longest time between two pages, in TSC ticks, and the pass in which it was. */
  'longestGap',
  'longestGapPass',
  /** PAUSE instructions between two pages. */
  'pace',
] as const;

export const WITNESS_REQUEST_HEADER_BYTES = 48;
/** In a request's flags: set CR4.OSXSAVE and XCR0, and witness XCR0. Not where XGETBV ends the guest. */
export const WITNESS_FLAG_XCR0 = 1;
/** In a request's flags: the first vCPU beats on COM1, a byte every 2^20 TSC ticks or so, one more than the last: who reads them sees from outside when it runs. */
export const WITNESS_FLAG_BEAT = 2;
/** Most CPUID rows and MSRs of a request, and most vCPUs. */
export const WITNESS_CPUID_CAP = 128;
export const WITNESS_MSR_CAP = 256;
export const WITNESS_VCPU_CAP = 16;
/** Pages between the visits of one pass and the next. */
export const VISITS_PER_PASS = 16;

/** Words verified and written in a page, and the bytes from one to the next. */
export const PATTERN_WORDS = 8;
export const PATTERN_STRIDE = 512;
/** Odd numbers by which the pattern moves: per vCPU, page, lap and word. */
export const PATTERN_VCPU = 0x9e3779b1;
export const PATTERN_PAGE = 0x85ebca6b;
export const PATTERN_LAP = 0xc2b2ae35;
export const PATTERN_WORD = 0x27d4eb2f;

/** What a witness is asked. */
export interface WitnessRequest {
  /** CPUID places to read; `subleaf` is ECX. */
  readonly cpuid: readonly { readonly leaf: number; readonly subleaf: number }[];
  readonly msrs: readonly number[];
  /** Of the further vCPUs, numbered from 1. */
  readonly apicIds?: readonly number[];
  readonly xcr0?: boolean;
  readonly beats?: boolean;
  /** Of the pattern; 0: the guest takes its TSC. */
  readonly seed?: number;
  /** Guest-physical address of the first slice: behind the image, a multiple of 4096. */
  readonly base?: number;
  /** Pages of each vCPU's slice in the first lap, how many more in each further one, and at most. */
  readonly firstPages?: number;
  readonly growth?: number;
  readonly lastPages: number;
  /** PAUSE instructions between two pages. */
  readonly pace?: number;
}

/** Behind the image and its request. */
export const WITNESS_BASE = 0x20_0000;

/** Pages of each slice that fit into a guest's RAM. */
export const witnessPages = (memoryBytes: number, vcpus: number): number =>
  Math.floor((memoryBytes - WITNESS_BASE) / 4096 / vcpus);

/**
 * The module's bytes, all u32: magic, version (1), counts of CPUID places, MSRs and APIC ids, flags, seed, base, first pages, growth, last
 * pages, pace; then the places, the MSRs, the ids. Throws `RangeError` beyond a cap.
 */
export function encodeWitnessRequest(request: WitnessRequest): Uint8Array {
  const { cpuid, msrs, apicIds = [], lastPages } = request;
  const within = (what: string, count: number, least: number, most: number): number => {
    if (count < least || count > most) throw new RangeError(`${count} ${what}, a witness takes ${least} to ${most}`);
    return count;
  };
  const words = [
    ...[WITNESS_REQUEST_MAGIC, 1],
    within('CPUID places', cpuid.length, 1, WITNESS_CPUID_CAP),
    within('MSRs', msrs.length, 1, WITNESS_MSR_CAP),
    within('further vCPUs', apicIds.length, 0, WITNESS_VCPU_CAP - 1),
    ...[
      (request.xcr0 ? WITNESS_FLAG_XCR0 : 0) | (request.beats ? WITNESS_FLAG_BEAT : 0),
      request.seed ?? 0,
      request.base ?? WITNESS_BASE,
    ],
    within('first pages', request.firstPages ?? lastPages, 1, lastPages),
    ...[request.growth ?? 1, lastPages, request.pace ?? 0],
    ...cpuid.flatMap(({ leaf, subleaf }) => [leaf, subleaf]),
    ...[...msrs, ...apicIds],
  ];
  const view = new DataView(new ArrayBuffer(words.length * 4));
  words.forEach((word, i) => {
    view.setUint32(i * 4, word, true);
  });
  return new Uint8Array(view.buffer);
}

/** The word number `word` of page number `page` of a vCPU as written in a lap. */
export const patternWord = (seed: number, vcpu: number, page: number, lap: number, word: number): number =>
  (seed +
    Math.imul(vcpu, PATTERN_VCPU) +
    Math.imul(page, PATTERN_PAGE) +
    Math.imul(lap, PATTERN_LAP) +
    Math.imul(word, PATTERN_WORD)) >>>
  0;
