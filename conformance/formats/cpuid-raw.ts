/** `cpuid -r` of the cpuid tool (etallen; Debian package `cpuid`), which also reads it back: `cpuid -f FILE`. */
import { hex32 } from '../../corpora/hex.js';
import { CpuCollector } from './cpu-collector.js';
import { type Absent, type DumpedCpu, dumpOf, subleafOf } from './dump.js';
import type { Format } from './format.js';
import { type Line, linesOf } from './line-reader.js';
import { lossesOf, numberedRows } from './losses.js';
import { expected } from './place.js';

const absent: Absent = { row: 'none', msr: 'open' };
const HEADER = /^CPU(?: \d{1,9})?:$/;
const holds = {
  absent,
  cpus: 'many',
  rows: true,
  msrs: false,
  flags: false,
  openBits: false,
  faults: false,
  names: false,
  facts: [],
} as const;

export const cpuidRaw: Format = {
  name: 'cpuid-raw',
  title: 'cpuid -r (etallen)',
  absent,
  speaks: 'bits',
  recognizes: (text) => /^\s*CPU(?: \d+)?:\r?\n/.test(text),
  parse(text) {
    const source = { format: this.name, text };
    const found = new CpuCollector();
    let cpu: number | null = null;
    for (const line of linesOf(source)) {
      if (HEADER.test(line.text)) {
        cpu = Number(/\d+/.exec(line.text)?.[0] ?? 0);
        if (found.has(cpu)) throw line.fail(`CPU ${cpu} stands twice`);
        found.begin(cpu);
      } else if (cpu === null) throw expected(source, line.start, "'CPU:' or 'CPU 0:'");
      else readRow(line, cpu, found);
    }
    if (found.empty) throw expected(source, text.length, "'CPU:' or 'CPU 0:'");
    return { dump: dumpOf(found.cpus(), absent), losses: [] };
  },
  write(dump) {
    const alone = dump.cpus.length === 1 && dump.cpus[0]!.index === 0;
    const lines = dump.cpus.flatMap((cpu) => [alone ? 'CPU:' : `CPU ${cpu.index}:`, ...rowLines(cpu)]);
    return { text: `${lines.join('\n')}\n`, losses: lossesOf(dump, holds) };
  },
};

function readRow(line: Line, cpu: number, found: CpuCollector): void {
  line.maybe(/\s+/);
  line.take(/0x/, 'a row such as 0x00000001 0x00: eax=0x...');
  const leaf = line.hex('a leaf of at most 8 hex digits');
  line.take(/ +0x/, 'a subleaf such as 0x00');
  const subleaf = line.hex('a subleaf of at most 8 hex digits');
  line.take(/:/, "':'");
  const register = (name: string): number => {
    line.maybe(/ +/);
    line.take(new RegExp(`${name}=0x`), `${name}=0x...`);
    return line.hex('at most 8 hex digits');
  };
  const row = {
    leaf,
    subleaf: subleafOf(leaf, subleaf),
    eax: register('eax'),
    ebx: register('ebx'),
    ecx: register('ecx'),
    edx: register('edx'),
  };
  line.end();
  found.addRow(cpu, row, (message) => line.fail(message));
}

function rowLines(cpu: DumpedCpu): string[] {
  return numberedRows(cpu).map(
    ({ leaf, subleaf, eax, ebx, ecx, edx }) =>
      `   ${hex32(leaf)} 0x${subleaf.toString(16).padStart(2, '0')}: eax=${hex32(eax)} ebx=${hex32(ebx)} ecx=${hex32(ecx)} edx=${hex32(edx)}`,
  );
}
