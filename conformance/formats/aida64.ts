/** CPUID and MSR dumps of AIDA64 and EVEREST, as InstLatx64 collects them: rows among other text, which is passed over. */
import { isIndexedLeaf, REGISTERS } from '../../corpora/cpuid.js';
import { hexShort } from '../../corpora/hex.js';
import { unnumberedSubleaf } from './aida64-subleaf.js';
import { CpuCollector } from './cpu-collector.js';
import { type Absent, type DumpedCpu, type DumpedMsr, dumpOf, subleafOf } from './dump.js';
import type { Format } from './format.js';
import { type Line, linesOf } from './line-reader.js';
import { listed, lossesOf, numberedRows } from './losses.js';
import { expected } from './place.js';

const absent: Absent = { row: 'none', msr: 'open' };
const holds = {
  absent,
  cpus: 'many',
  rows: true,
  msrs: true,
  flags: false,
  openBits: false,
  faults: true,
  names: false,
  facts: [],
} as const;
const ALL = 2n ** 64n - 1n;

/** Headers of a CPU's section, of several programs and versions. */
const HEADERS = [
  /^-+\[ (?:CPUID Registers \/ |MSR Registers \/ )?Logical CPU #(\d{1,9})(?: Virtual)? \]-+$/,
  /^CPU#0*(\d{1,9}) AffMask: 0[xX][0-9A-Fa-f]+/,
  /^(?:CPUID|MSR) Registers \(CPU #(\d{1,9})(?: Virtual)?\):$/,
];
/** The last form counts from 1, but for the newest program that writes it. */
const OLD_HEADER = /^\w+ Registers \(CPU #/;
/** This one has no number, and stands before each CPU's rows. */
const NEXT_CPU = /^Group: 0x[0-9A-Fa-f]+ Affinity mask: 0x[0-9A-Fa-f]+/;

/** `CPUID Manufacturer: ...` is text; a number after the word is a row's leaf. */
const CPUID_ROW = /^CPUID [0-9A-Fa-f]+\s*(?:\s|:)/;
const MSR_ROW = /^MSR [0-9A-Fa-f]+\s*(?:\s|:)/;
/** Four registers, or a value after an index: such a line is no text to pass over. */
const ROW_SHAPE = /[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{8}){3}|^MSR .*[0-9A-Fa-f]{4}(?:-[0-9A-Fa-f]{4}){3}/;
/** After the leaf: `: `, in older programs also ` :`, ` : `, a tab or a blank. */
const AFTER_PLACE = /\s*:\s*|\s+/;
/** Notes such as [GenuineIntel] or [L1D: 32 KB]. */
const NOTES = /\s*\[.*\]$/;

export const aida64: Format = {
  name: 'aida64',
  title: 'AIDA64 and InstLatx64 text',
  absent,
  speaks: 'bits',
  recognizes: (text) => /^CPUID [0-9A-F]{8}(?: :|[: \t]) *\t?[0-9A-F]{8}[- ]/m.test(text),
  parse(text) {
    const source = { format: this.name, text };
    const found = new CpuCollector();
    const repeated: string[] = [];
    let [first, cpu, old]: [number | null, number, boolean] = [null, 0, false];
    for (const line of linesOf(source)) {
      const header = HEADERS.map((pattern) => pattern.exec(line.text)?.[1]).find((index) => index !== undefined);
      if (header !== undefined || NEXT_CPU.test(line.text)) {
        cpu = header !== undefined ? Number(header) : found.count;
        first ??= cpu;
        old ||= OLD_HEADER.test(line.text);
        found.begin(cpu);
      } else if (/^-+\[ MSR Registers \]-+$/.test(line.text)) cpu = first ?? 0;
      else if (CPUID_ROW.test(line.text)) {
        // Some programs write no headers: leaf 0 again is the next CPU.
        if (first === null && /^CPUID 0{8}\b(?!.*\[SL )/.test(line.text) && found.row(cpu, 0, null)) cpu = found.count;
        readRow(line, cpu, found);
      } else if (MSR_ROW.test(line.text)) readMsr(line, cpu, found, repeated);
      else if (ROW_SHAPE.test(line.text))
        throw expected(source, line.start, "a row that begins with 'CPUID ' or 'MSR ' and 8 hex digits");
    }
    if (found.empty) throw expected(source, text.length, 'a row such as CPUID 00000001: 00050654-...');
    const losses = repeated.length
      ? [`read more than once, only the first kept: MSR ${listed([...new Set(repeated)])}`]
      : [];
    return { dump: dumpOf(old ? fromZero(found.cpus()) : found.cpus(), absent), losses };
  },
  write(dump) {
    const lines = dump.cpus.flatMap((cpu) => [
      ...[`------[ CPUID Registers / Logical CPU #${cpu.index} ]------`, '', ...rowLines(cpu), ''],
      ...(cpu.msrs.length
        ? [`------[ MSR Registers / Logical CPU #${cpu.index} ]------`, '', ...cpu.msrs.map(msrLine), '']
        : []),
    ]);
    const undefinedOpcode = dump.cpus.flatMap(({ msrs }) => msrs).some((msr) => 'fault' in msr && msr.fault === '#UD');
    const losses = [...lossesOf(dump, holds), ...(undefinedOpcode ? ['#UD is written as a failed read'] : [])];
    return { text: lines.join('\n'), losses };
  },
};

/** CPUs that were counted from 1, as everybody else counts them. */
const fromZero = (cpus: readonly DumpedCpu[]): readonly DumpedCpu[] =>
  cpus[0]?.index === 1 ? cpus.map((cpu) => ({ ...cpu, index: cpu.index - 1 })) : cpus;

function readRow(line: Line, cpu: number, found: CpuCollector): void {
  line.take(/CPUID /, 'CPUID');
  const leaf = line.hex('a leaf of 8 hex digits');
  line.take(AFTER_PLACE, "':'");
  const register = (after: RegExp, what: string): number => {
    line.take(after, what);
    return line.hex('8 hex digits');
  };
  const values = {
    eax: line.hex('8 hex digits'),
    ebx: register(/[- ]/, "'-'"),
    ecx: register(/[- ]/, "'-'"),
    edx: register(/[- ]/, "'-'"),
  };
  line.maybe(/\s+/);
  const numbered = line.maybe(/(?=\[SL )/) !== undefined;
  // Hexadecimal: AMX's tile components are [SL 11] and [SL 12], AMD's LWP is [SL 3E].
  const subleaf = numbered
    ? subleafOf(leaf, Number.parseInt(line.take(/\[SL ([0-9A-Fa-f]{1,8})\]/, 'a hex subleaf such as [SL 0A]'), 16))
    : unnumberedSubleaf(leaf, values, (at) => found.row(cpu, leaf, subleafOf(leaf, at)));
  if (subleaf === undefined) throw line.fail(`which subleaf of leaf ${hexShort(leaf)} this row is cannot be told`);
  line.maybe(NOTES);
  line.end();
  const known = found.row(cpu, leaf, subleaf);
  // A few lists have a row twice, word for word.
  if (!known || REGISTERS.some((register) => known[register] !== values[register]))
    found.addRow(cpu, { leaf, subleaf, ...values }, (message) => line.fail(message));
}

function readMsr(line: Line, cpu: number, found: CpuCollector, repeated: string[]): void {
  line.take(/MSR /, 'MSR');
  const index = line.hex('an MSR of 8 hex digits');
  line.take(AFTER_PLACE, "':'");
  const failed = line.maybe(/< FAILED >/) !== undefined;
  const msr: DumpedMsr = failed
    ? { index, fault: '#GP' }
    : {
        index,
        value: BigInt(
          `0x${line.take(/[0-9A-Fa-f]{4}(?:-[0-9A-Fa-f]{4}){3}/, 'a value such as 0000-0000-FEE0-0900, or < FAILED >').replaceAll('-', '')}`,
        ),
        mask: ALL,
      };
  line.maybe(NOTES);
  line.end();
  // Counters are sampled again and again.
  if (found.msr(cpu, index)) repeated.push(hexShort(index));
  else found.addMsr(cpu, msr, (message) => line.fail(message));
}

const digits = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0');

function rowLines(cpu: DumpedCpu): string[] {
  return numberedRows(cpu).map(({ leaf, subleaf, eax, ebx, ecx, edx }) => {
    const note =
      subleaf > 0 || isIndexedLeaf(leaf) ? ` [SL ${subleaf.toString(16).toUpperCase().padStart(2, '0')}]` : '';
    return `CPUID ${digits(leaf)}: ${[eax, ebx, ecx, edx].map(digits).join('-')}${note}`;
  });
}

function msrLine(msr: DumpedMsr): string {
  const value =
    'fault' in msr
      ? '< FAILED >'
      : msr.value
          .toString(16)
          .toUpperCase()
          .padStart(16, '0')
          .replaceAll(/(.{4})(?!$)/g, '$1-');
  return `MSR ${digits(msr.index)}: ${value}`;
}
