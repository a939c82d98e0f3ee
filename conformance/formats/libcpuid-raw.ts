/** Raw dumps of libcpuid (`cpuid_tool --save`): arrays of rows by name. */
import { CpuCollector, rowName } from './cpu-collector.js';
import { type Absent, type DumpedCpu, dumpOf, subleafOf } from './dump.js';
import type { Format } from './format.js';
import { type Line, linesOf } from './line-reader.js';
import { listed, lossesOf, numberedRows } from './losses.js';
import { expected } from './place.js';

/** Nothing is said of rows that no array has. */
const absent: Absent = { row: 'open', msr: 'open' };
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

/** libcpuid.h up to 0.8.2: arrays over leaves from `first`, or over the subleaves of one leaf; `count` is libcpuid's size of the array. */
const ARRAYS = [
  { name: 'basic_cpuid', by: 'leaf', first: 0, count: 32 },
  { name: 'ext_cpuid', by: 'leaf', first: 0x80000000, count: 32 },
  { name: 'intel_fn4', by: 'subleaf', first: 4, count: 8 },
  { name: 'intel_fn11', by: 'subleaf', first: 0xb, count: 4 },
  { name: 'intel_fn12h', by: 'subleaf', first: 0x12, count: 4 },
  { name: 'intel_fn14h', by: 'subleaf', first: 0x14, count: 4 },
  { name: 'amd_fn8000001dh', by: 'subleaf', first: 0x8000001d, count: 4 },
  { name: 'amd_fn80000026h', by: 'subleaf', first: 0x80000026, count: 4 },
] as const;
type RowArray = (typeof ARRAYS)[number];

const CPU_HEADER = /^_+ Logical CPU #(\d{1,9}) _+$/;

export const libcpuidRaw: Format = {
  name: 'libcpuid-raw',
  title: 'libcpuid (cpuid_tool --save)',
  absent,
  speaks: 'bits',
  recognizes: (text) => /^[a-z]\w*\[\d+\]=/m.test(text),
  parse(text) {
    const source = { format: this.name, text };
    const found = new CpuCollector();
    const contradicted: string[] = [];
    let cpu = 0;
    for (const line of linesOf(source)) {
      const header = CPU_HEADER.exec(line.text)?.[1];
      if (header !== undefined) {
        cpu = Number(header);
        if (found.has(cpu)) throw line.fail(`CPU ${cpu} stands twice`);
        found.begin(cpu);
      } else if (/^-{20,}$/.test(line.text)) break;
      else if (!/^version=\S+$/.test(line.text)) readRow(line, cpu, found, contradicted);
    }
    if (found.empty) throw expected(source, text.length, 'a row such as basic_cpuid[0]=0000001b ...');
    const losses = contradicted.length
      ? [`two arrays contradict each other, the first one kept: ${listed(contradicted)}`]
      : [];
    return { dump: dumpOf(found.cpus(), absent), losses };
  },
  write(dump) {
    const left = dump.cpus.flatMap((cpu) =>
      cpu.cpuid.rows.filter(({ leaf, subleaf }) => !ARRAYS.some((a) => slot(a, leaf, subleaf ?? 0) !== null)),
    );
    const lines = dump.cpus.flatMap((cpu) => [
      `_________________ Logical CPU #${cpu.index} _________________`,
      ...rowLines(cpu),
      '',
    ]);
    return {
      text: ['version=0.6.2', '', ...lines].join('\n'),
      losses: [
        ...lossesOf(dump, holds),
        ...(left.length ? [`no array for it: left out ${listed([...new Set(left.map(rowName))])}`] : []),
      ],
    };
  },
};

/** The index of a row in an array, or null where it does not belong there. */
function slot(array: RowArray, leaf: number, subleaf: number): number | null {
  const index = array.by === 'leaf' ? leaf - array.first : leaf === array.first ? subleaf : -1;
  return index >= 0 && index < array.count && (array.by === 'subleaf' || subleaf === 0) ? index : null;
}

function readRow(line: Line, cpu: number, found: CpuCollector, contradicted: string[]): void {
  const name = line.take(/[a-z_0-9]+(?=\[)/, `an array such as basic_cpuid[0]=`);
  const array = ARRAYS.find((known) => known.name === name);
  if (!array) throw line.fail(`unknown array '${name}'; known: ${ARRAYS.map((known) => known.name).join(', ')}`);
  const index = Number(line.take(/\[(\d{1,3})\]/, 'an index such as [0]'));
  if (index >= array.count) throw line.fail(`${name} has indices 0 to ${array.count - 1}`);
  line.take(/=/, "'='");
  const register = (after: RegExp): number => {
    line.take(after, 'a blank');
    return line.hex('8 hex digits');
  };
  const [leaf, subleaf] = array.by === 'leaf' ? [array.first + index, 0] : [array.first, index];
  const row = {
    leaf,
    subleaf: subleafOf(leaf, subleaf),
    eax: register(/ */),
    ebx: register(/ +/),
    ecx: register(/ +/),
    edx: register(/ +/),
  };
  line.end();
  const known = found.row(cpu, leaf, row.subleaf);
  if (!known) found.addRow(cpu, row, (message) => line.fail(message));
  else if (known.eax !== row.eax || known.ebx !== row.ebx || known.ecx !== row.ecx || known.edx !== row.edx)
    contradicted.push(rowName(row));
}

function rowLines(cpu: DumpedCpu): string[] {
  const rows = numberedRows(cpu);
  const digits = (value: number): string => value.toString(16).padStart(8, '0');
  return ARRAYS.flatMap((array) =>
    rows.flatMap(({ leaf, subleaf, eax, ebx, ecx, edx }) => {
      const index = slot(array, leaf, subleaf);
      return index === null ? [] : [`${array.name}[${index}]=${[eax, ebx, ecx, edx].map(digits).join(' ')}`];
    }),
  );
}
