/** The cpu-state probe's CPUID sweep in TypeScript: which places it asks, given the answers. For recorded hosts and for tests of comparators. */
import { type CpuidRow, isIndexedLeaf } from '../corpora/cpuid.js';
import { CPUID_RANGE_CAP } from '../corpora/probe-abi.js';

type Answer = Pick<CpuidRow, 'eax' | 'ebx' | 'ecx' | 'edx'>;

/** Answers CPUID with EAX = `leaf`, ECX = `subleaf`. */
export type AskCpuid = (leaf: number, subleaf: number) => Answer;

const highestBit = (word: number): number => (word === 0 ? 0 : 31 - Math.clz32(word));

/** The last subleaf, from the answer to subleaf 0; null where it is found by going on until one has no type. */
const LAST_SUBLEAF: Readonly<Record<number, (first: Answer, second: () => Answer) => number>> = {
  7: ({ eax }) => eax,
  13: (first, second) => {
    const { ecx, edx } = second();
    const high = (first.edx | edx) >>> 0;
    return 1 + (high === 0 ? highestBit((first.eax | ecx) >>> 0) : 32 + highestBit(high));
  },
  15: ({ edx }) => highestBit(edx),
  16: ({ ebx }) => highestBit(ebx),
  20: ({ eax }) => eax,
  23: ({ eax }) => eax,
  24: ({ eax }) => eax,
  29: ({ eax }) => eax,
  30: ({ eax }) => eax,
  32: ({ eax }) => eax,
  35: ({ eax }) => highestBit(eax),
  36: ({ eax }) => eax,
  2147483680: ({ ebx }) => highestBit(ebx),
};

/** Where the list of subleaves ends: at the first, from `from` on, whose type is 0. */
const TYPE: Readonly<Record<number, { readonly from: number; readonly type: (answer: Answer) => number }>> = {
  4: { from: 0, type: ({ eax }) => eax & 0x1f },
  11: { from: 0, type: ({ ecx }) => ecx & 0xff00 },
  18: { from: 2, type: ({ eax }) => eax & 0xf },
  27: { from: 0, type: ({ eax }) => eax & 0xfff },
  31: { from: 0, type: ({ ecx }) => ecx & 0xff00 },
  2147483677: { from: 0, type: ({ eax }) => eax & 0x1f },
  2147483686: { from: 0, type: ({ ecx }) => ecx & 0xff00 },
};

/** Every row that the probe would send, in its order. */
export function sweepCpuid(ask: AskCpuid): CpuidRow[] {
  const rows: CpuidRow[] = [];
  const record = (leaf: number, subleaf: number): Answer => {
    const { eax, ebx, ecx, edx } = ask(leaf, subleaf);
    rows.push({ leaf, subleaf: isIndexedLeaf(leaf) ? subleaf : null, eax, ebx, ecx, edx });
    return { eax, ebx, ecx, edx };
  };
  for (const base of [0, 0x40000000, 0x40000100, 0x80000000, 0xc0000000]) sweepRange(base, record);
  record(0x8fffffff, 0);
  return rows;
}

/** A range whose maximum is below its base, or absurd, counts as one leaf. */
function sweepRange(base: number, ask: AskCpuid): void {
  const span = ask(base, 0).eax - base;
  const last = span >= 0 && span < CPUID_RANGE_CAP ? base + span : base;
  for (let leaf = base + 1; leaf <= last; leaf++) sweepLeaf(leaf, ask);
  ask(last + 1, 0);
  ask(last + 2, 0);
}

/** All subleaves of a leaf, and one beyond. */
function sweepLeaf(leaf: number, ask: AskCpuid): void {
  const first = ask(leaf, 0);
  const ending = TYPE[leaf];
  if (ending) sweepUntilNoType(leaf, first, ending, ask);
  const last = LAST_SUBLEAF[leaf];
  if (last) {
    let asked = 0;
    const told = last(first, () => ask(leaf, ++asked));
    const end = told < CPUID_RANGE_CAP ? told : 0;
    do ask(leaf, ++asked);
    while (asked <= end);
  }
}

function sweepUntilNoType(leaf: number, first: Answer, { from, type }: (typeof TYPE)[number], ask: AskCpuid): void {
  let subleaf = 0;
  let answer = first;
  while (subleaf < from) answer = ask(leaf, ++subleaf);
  while (type(answer) !== 0 && subleaf < CPUID_RANGE_CAP - 2) answer = ask(leaf, ++subleaf);
  ask(leaf, ++subleaf);
}
