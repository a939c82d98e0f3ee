/** What differs between two dumps, in both directions: CPU by CPU, bit by bit. */
import { REGISTERS } from '../../corpora/cpuid.js';
import { diffFacts } from './diff-facts.js';
import { compareMsr } from './diff-msrs.js';
import { diffNames } from './diff-names.js';
import { compareRow } from './diff-rows.js';
import { countBits, type Part, Tally } from './diff-tally.js';
import type { Difference, NameOf } from './difference.js';
import { type CpuDump, type DumpedCpu, pinnedBits } from './dump.js';

export interface DumpDiff {
  readonly differences: readonly Difference[];
  /** Bits and names that both sides say something of. */
  readonly compared: number;
  /** Bits and names that one side leaves open: not compared. */
  readonly open: number;
}

/** Compares everything that both dumps say. No differences mean nothing where `compared` is 0. */
export function diffDumps(a: CpuDump, b: CpuDump, nameOf: NameOf): DumpDiff {
  const tally = new Tally(nameOf);
  const indices = new Set([...a.cpus, ...b.cpus].map(({ index }) => index));
  for (const cpu of [...indices].sort((x, y) => x - y)) {
    const [one, two] = [partOf(a, cpu), partOf(b, cpu)];
    if (one && two) compareCpus(one, two, tally);
    else if (a.cpus.length && b.cpus.length) tally.differs({ kind: 'cpu', cpu, onlyIn: one ? 'a' : 'b' });
    else tally.open += saidBits((one ?? two)!.cpu);
  }
  const [names, facts] = [diffNames(a.named, b.named), diffFacts(a, b)];
  for (const difference of [...names.differences, ...facts.differences]) tally.differs(difference);
  const equal = names.equal + facts.equal;
  return { differences: tally.differences, compared: tally.compared + equal, open: tally.open + names.open };
}

function partOf(dump: CpuDump, index: number): Part | undefined {
  const cpu = dump.cpus.find((one) => one.index === index);
  return cpu && { cpu, dump };
}

/** How many bits a CPU has pinned. */
const saidBits = (cpu: DumpedCpu): number =>
  cpu.cpuid.rows
    .flatMap((row) => REGISTERS.map((register) => countBits(BigInt(pinnedBits(cpu, row, register)))))
    .reduce((sum, n) => sum + n, 0) + cpu.msrs.reduce((sum, msr) => sum + ('mask' in msr ? countBits(msr.mask) : 1), 0);

function compareCpus(a: Part, b: Part, tally: Tally): void {
  const places = new Map([...b.cpu.cpuid, ...a.cpu.cpuid].map((row) => [`${row.leaf} ${row.subleaf}`, row]));
  for (const row of [...places.values()].sort((x, y) => x.leaf - y.leaf || (x.subleaf ?? -1) - (y.subleaf ?? -1)))
    compareRow(row, a, b, tally);
  const indices = new Set([...a.cpu.msrs, ...b.cpu.msrs].map(({ index }) => index));
  for (const index of [...indices].sort((x, y) => x - y)) compareMsr(index, a, b, tally);
}
