/** The cpu-state probe's CPUID sweep in TypeScript: which places it asks, given the answers. For recorded hosts and for tests of comparators. */
import { type CpuidRow, isIndexedLeaf } from '../corpora/cpuid.js';
import { CPUID_RANGE_CAP } from '../corpora/probe-abi.js';

type Answer = Pick<CpuidRow, 'eax' | 'ebx' | 'ecx' | 'edx'>;

/** Answers CPUID with EAX = `leaf`, ECX = `subleaf`. */
export type AskCpuid = (leaf: number, subleaf: number) => Answer;

const highestBit = (word: number): number => (word === 0 ? 0 : 31 - Math.clz32(word));

type SubleafEnd = (first: Answer) => number;
const inEax: SubleafEnd = ({ eax }) => eax;

/** The last subleaf, from the answer to subleaf 0. */
const LAST_SUBLEAF: ReadonlyMap<number, SubleafEnd> = new Map([
  [0x7, inEax],
  [0xd, () => 63],
  [0xf, ({ edx }) => highestBit(edx)],
  [0x10, ({ ebx }) => highestBit(ebx)],
  [0x14, inEax],
  [0x17, inEax],
  [0x18, inEax],
  [0x1d, inEax],
  [0x1e, inEax],
  [0x20, inEax],
  [0x23, ({ eax }) => highestBit(eax)],
  [0x24, inEax],
  [0x80000020, ({ ebx }) => highestBit(ebx)],
]);

interface TypedSubleaves {
  readonly from: number;
  readonly type: (answer: Answer) => number;
}
const caches: TypedSubleaves = { from: 0, type: ({ eax }) => eax & 0x1f };
const levels: TypedSubleaves = { from: 0, type: ({ ecx }) => ecx & 0xff00 };

/** Leaves whose list of subleaves ends at the first, from `from` on, whose type is 0. */
const TYPED_SUBLEAVES: ReadonlyMap<number, TypedSubleaves> = new Map([
  [0x4, caches],
  [0xb, levels],
  [0x12, { from: 2, type: ({ eax }) => eax & 0xf }],
  [0x1b, { from: 0, type: ({ eax }) => eax & 0xfff }],
  [0x1f, levels],
  [0x8000001d, caches],
  [0x80000026, levels],
]);

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
  const typed = TYPED_SUBLEAVES.get(leaf);
  if (typed) sweepUntilNoType(leaf, first, typed, ask);
  const last = LAST_SUBLEAF.get(leaf)?.(first);
  if (last === undefined) return;
  const end = last < CPUID_RANGE_CAP ? last : 0;
  for (let subleaf = 1; subleaf <= end + 1; subleaf++) ask(leaf, subleaf);
}

function sweepUntilNoType(leaf: number, first: Answer, { from, type }: TypedSubleaves, ask: AskCpuid): void {
  let subleaf = 0;
  let answer = first;
  while (subleaf < from) answer = ask(leaf, ++subleaf);
  while (type(answer) !== 0 && subleaf < CPUID_RANGE_CAP - 2) answer = ask(leaf, ++subleaf);
  ask(leaf, ++subleaf);
}
