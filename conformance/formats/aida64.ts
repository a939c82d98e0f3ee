/** CPUID and MSR dumps of AIDA64 and EVEREST, as InstLatx64 collects them: rows among other text, which is passed over. */
import { isIndexedLeaf } from '../../corpora/cpuid.js';
import { hexShort } from '../../corpora/hex.js';
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

/** Headers of a CPU's section, of several program versions; AIDA64 counts from 0, older lists `CPU #1`. */
const HEADERS = [
  /^-+\[ (?:CPUID Registers \/ |MSR Registers \/ )?Logical CPU #(\d{1,9})(?: Virtual)? \]-+$/,
  /^CPU#0*(\d{1,9}) AffMask: 0x[0-9A-Fa-f]+/,
];

/** Four registers: such a line is no text to pass over. */
const ROW_SHAPE = /[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{8}){3}/;

export const aida64: Format = {
  name: 'aida64',
  title: 'AIDA64 and InstLatx64 text',
  absent,
  speaks: 'bits',
  recognizes: (text) => /^CPUID [0-9A-F]{8}: /m.test(text),
  parse(text) {
    const source = { format: this.name, text };
    const found = new CpuCollector();
    const repeated: string[] = [];
    let cpu = 0;
    for (const line of linesOf(source)) {
      const header = HEADERS.map((pattern) => pattern.exec(line.text)?.[1]).find((index) => index !== undefined);
      if (header !== undefined) {
        cpu = Number(header);
        found.begin(cpu);
      } else if (/^-+\[ MSR Registers \]-+$/.test(line.text)) cpu = 0;
      else if (/^CPUID \S+:/.test(line.text)) readRow(line, cpu, found);
      else if (/^MSR \S+:/.test(line.text)) readMsr(line, cpu, found, repeated);
      else if (ROW_SHAPE.test(line.text)) throw expected(source, line.start, "a row that begins with 'CPUID '");
    }
    if (found.empty) throw expected(source, text.length, 'a row such as CPUID 00000001: 00050654-...');
    const losses = repeated.length
      ? [`read more than once, only the first kept: MSR ${listed([...new Set(repeated)])}`]
      : [];
    return { dump: dumpOf(found.cpus(), absent), losses };
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

function readRow(line: Line, cpu: number, found: CpuCollector): void {
  line.take(/CPUID /, 'CPUID');
  const leaf = line.hex('a leaf of 8 hex digits');
  line.take(/: /, "': '");
  const register = (after: RegExp, what: string): number => {
    line.take(after, what);
    return line.hex('8 hex digits');
  };
  const values = {
    eax: register(/ */, 'a register'),
    ebx: register(/-/, "'-'"),
    ecx: register(/-/, "'-'"),
    edx: register(/-/, "'-'"),
  };
  line.maybe(/\s+/);
  const numbered = line.maybe(/(?=\[SL )/) !== undefined;
  const subleaf = numbered
    ? subleafOf(leaf, line.decimal(/\[SL (\d+)\]/, 'a decimal subleaf such as [SL 00]'))
    : nextSubleaf(found, cpu, leaf);
  // Notes such as [GenuineIntel] or [L1D: 32 KB].
  line.maybe(/\s*\[.*\]$/);
  line.end();
  found.addRow(cpu, { leaf, subleaf, ...values }, (message) => line.fail(message));
}

/** Old versions list the subleaves of a leaf in order and do not number them. */
function nextSubleaf(found: CpuCollector, cpu: number, leaf: number): number | null {
  let subleaf = 0;
  while (found.row(cpu, leaf, subleafOf(leaf, subleaf))) subleaf++;
  return subleafOf(leaf, subleaf);
}

function readMsr(line: Line, cpu: number, found: CpuCollector, repeated: string[]): void {
  line.take(/MSR /, 'MSR');
  const index = line.hex('an MSR of 8 hex digits');
  line.take(/: /, "': '");
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
  // Counters are sampled again and again.
  if (found.msr(cpu, index)) repeated.push(hexShort(index));
  else found.addMsr(cpu, msr, (message) => line.fail(message));
}

const digits = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0');

function rowLines(cpu: DumpedCpu): string[] {
  return numberedRows(cpu).map(({ leaf, subleaf, eax, ebx, ecx, edx }) => {
    const note = subleaf > 0 || isIndexedLeaf(leaf) ? ` [SL ${String(subleaf).padStart(2, '0')}]` : '';
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
