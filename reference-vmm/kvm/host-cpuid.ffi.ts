/** The CPU's own CPUID leaves, by executing the instruction in this process. */
import koffi from 'koffi';
import { type CpuidRow, CpuidTable, isIndexedLeaf } from '../../corpora/cpuid.js';
import { mapCode, unmap } from './libc.ffi.js';

/** void (leaf, subleaf, out[4]): push rbx; mov eax,edi; mov ecx,esi; mov r8,rdx; cpuid; store; pop rbx; ret */
const CODE = Uint8Array.of(
  ...[0x53, 0x89, 0xf8, 0x89, 0xf1, 0x49, 0x89, 0xd0, 0x0f, 0xa2, 0x41, 0x89, 0x00, 0x41, 0x89, 0x58, 0x04],
  ...[0x41, 0x89, 0x48, 0x08, 0x41, 0x89, 0x50, 0x0c, 0x5b, 0xc3],
);
const PROTOTYPE = koffi.proto('void (uint32_t leaf, uint32_t subleaf, void *out)');

/** Most subleaves of any leaf (0xD has 64). */
const SUBLEAVES = 64;
/** Bases of the ranges: basic, hypervisor, extended, Centaur. A range that is absent answers with a maximum outside it. */
const RANGES = [0, 0x40000000, 0x80000000, 0xc0000000];
/** No range is longer than this. */
const RANGE_CAP = 0x100;

/** All leaves up to each range's maximum; every subleaf of an indexed leaf that is not all zero. */
export function readHostCpuid(): CpuidTable {
  const code = mapCode(CODE);
  try {
    const out = new Uint32Array(4);
    const query = (leaf: number, subleaf: number | null): CpuidRow => {
      koffi.call(code.address, PROTOTYPE, leaf, subleaf ?? 0, out);
      return { leaf, subleaf, eax: out[0]!, ebx: out[1]!, ecx: out[2]!, edx: out[3]! };
    };
    return new CpuidTable(RANGES.flatMap((base) => rangeOf(base, query)));
  } finally {
    unmap(code);
  }
}

function rangeOf(base: number, query: (leaf: number, subleaf: number | null) => CpuidRow): CpuidRow[] {
  const maximum = query(base, null).eax;
  if (maximum < base || maximum >= base + RANGE_CAP) return [];
  const rows: CpuidRow[] = [];
  for (let leaf = base; leaf <= maximum; leaf++) {
    if (!isIndexedLeaf(leaf)) rows.push(query(leaf, null));
    else
      for (let subleaf = 0; subleaf < SUBLEAVES; subleaf++) {
        const row = query(leaf, subleaf);
        // Leaves 0xB and 0x1F echo the subleaf in ECX[7:0] beyond their end.
        const empty =
          (row.eax | row.ebx | (row.ecx & ~0xff) | (leaf === 0xb || leaf === 0x1f ? 0 : row.ecx | row.edx)) === 0;
        if (!empty || subleaf === 0) rows.push(row);
      }
  }
  return rows;
}
