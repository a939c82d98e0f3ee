/** Collects rows and MSRs as a parser meets them, and refuses a second one at the same place. */
import { type CpuidRow, CpuidTable, fieldName } from '../../corpora/cpuid.js';
import { hexShort } from '../../corpora/hex.js';
import type { DumpedCpu, DumpedMsr } from './dump.js';

interface Collected {
  readonly rows: Map<string, CpuidRow>;
  readonly msrs: Map<number, DumpedMsr>;
}

/** `7.0`, `80000008`: a row's place as messages write it. */
export const rowName = (row: Pick<CpuidRow, 'leaf' | 'subleaf'>): string =>
  fieldName({ ...row, register: 'eax' }).replace(/\.EAX$/, '');

export class CpuCollector {
  readonly #cpus = new Map<number, Collected>();

  /** Begins a CPU, so that it exists also where it has no rows. */
  begin(cpu: number): Collected {
    const known = this.#cpus.get(cpu);
    if (known) return known;
    const fresh = { rows: new Map<string, CpuidRow>(), msrs: new Map<number, DumpedMsr>() };
    this.#cpus.set(cpu, fresh);
    return fresh;
  }

  has(cpu: number): boolean {
    return this.#cpus.has(cpu);
  }

  /** The row that stands at this place already. */
  row(cpu: number, leaf: number, subleaf: number | null): CpuidRow | undefined {
    return this.#cpus.get(cpu)?.rows.get(rowName({ leaf, subleaf }));
  }

  /** `fail` makes the error for a row that stands there twice. */
  addRow(cpu: number, row: CpuidRow, fail: (message: string) => Error): void {
    const { rows } = this.begin(cpu);
    const key = rowName(row);
    if (rows.has(key)) throw fail(`CPUID ${key} stands twice for CPU ${cpu}`);
    rows.set(key, row);
  }

  addMsr(cpu: number, msr: DumpedMsr, fail: (message: string) => Error): void {
    const { msrs } = this.begin(cpu);
    if (msrs.has(msr.index)) throw fail(`MSR ${hexShort(msr.index)} stands twice for CPU ${cpu}`);
    msrs.set(msr.index, msr);
  }

  msr(cpu: number, index: number): DumpedMsr | undefined {
    return this.#cpus.get(cpu)?.msrs.get(index);
  }

  get count(): number {
    return this.#cpus.size;
  }

  get empty(): boolean {
    return this.count === 0;
  }

  /** In the order of their index. */
  cpus(): DumpedCpu[] {
    return [...this.#cpus]
      .sort(([a], [b]) => a - b)
      .map(([index, { rows, msrs }]) => ({
        index,
        cpuid: new CpuidTable(rows.values()),
        mask: null,
        msrs: [...msrs.values()].sort((a, b) => a.index - b.index),
      }));
  }
}
