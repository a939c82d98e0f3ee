/**
 * `kcpuid -r` of the kernel's tools/arch/x86/kcpuid: basic and extended leaves of one CPU, rows of zeros left out. It does not ask for every
 * subleaf (on AMD only for those of 7, D and 8000001D): what it did not ask for counts as zeros too, so that two dumps cannot differ unseen.
 */
import { type CpuidRow, isIndexedLeaf, REGISTERS } from '../../corpora/cpuid.js';
import { hex32 } from '../../corpora/hex.js';
import { CpuCollector, rowName } from './cpu-collector.js';
import { type Absent, dumpOf, subleafOf } from './dump.js';
import type { Format } from './format.js';
import { type Line, linesOf } from './line-reader.js';
import { listed, lossesOf, numberedRows } from './losses.js';
import { expected } from './place.js';

const absent: Absent = { row: 'zero', msr: 'open' };
const holds = {
  absent,
  cpus: 'one',
  rows: true,
  msrs: false,
  flags: false,
  openBits: false,
  faults: false,
  names: false,
  facts: [],
} as const;
type Numbered = CpuidRow & { readonly subleaf: number };

const RANGES = [
  { title: 'Basic', first: 0, last: 0xffff },
  { title: 'Extended', first: 0x80000000, last: 0x8000ffff },
] as const;

export const kcpuidRaw: Format = {
  name: 'kcpuid-raw',
  title: 'kcpuid -r (kernel)',
  absent,
  speaks: 'bits',
  recognizes: (text) => /^\s*Basic Leafs :/.test(text) || /^0x[0-9a-f]{8}: (subleafs:|EAX=)/m.test(text),
  parse(text) {
    const source = { format: this.name, text };
    const found = new CpuCollector();
    let open: number | null = null;
    for (const line of linesOf(source)) {
      if (/^(=+|[A-Z][A-Za-z ]* Leafs :)$/.test(line.text)) {
        open = null;
        found.begin(0);
      } else if (line.maybe(/ +/) !== undefined) {
        if (open === null)
          throw expected(source, line.start, "a leaf such as '0x00000004: subleafs:' before its subleaves");
        const subleaf = line.decimal(/(\d+)/, 'a decimal subleaf');
        line.take(/: /, "': '");
        readRegisters(line, open, subleafOf(open, subleaf), found);
      } else {
        line.take(/0x/, 'a leaf such as 0x00000001');
        const leaf = line.hex('8 hex digits');
        line.take(/: /, "': '");
        open = line.maybe(/subleafs:$/) === undefined ? null : leaf;
        if (open === null) readRegisters(line, leaf, subleafOf(leaf, 0), found);
      }
    }
    if (found.empty) throw expected(source, text.length, 'a leaf such as 0x00000001: EAX=0x...');
    return { dump: dumpOf(found.cpus(), absent), losses: [] };
  },
  write(dump) {
    const cpu = dump.cpus[0];
    const rows = cpu ? numberedRows(cpu).filter((row) => REGISTERS.some((r) => row[r] !== 0)) : [];
    const outside = rows.filter(({ leaf }) => !RANGES.some(({ first, last }) => leaf >= first && leaf <= last));
    const lines = RANGES.flatMap(({ title, first, last }) => [
      `${title} Leafs :`,
      '================',
      ...rowLines(rows.filter(({ leaf }) => leaf >= first && leaf <= last)),
    ]);
    const left = outside.length ? [`basic and extended leaves only: left out ${listed(outside.map(rowName))}`] : [];
    return { text: `${lines.join('\n')}\n`, losses: [...lossesOf(dump, holds), ...left] };
  },
};

function readRegisters(line: Line, leaf: number, subleaf: number | null, found: CpuCollector): void {
  const register = (name: string): number => {
    line.take(new RegExp(`(?:, )?${name}=0x`), `${name}=0x...`);
    return line.hex('at most 8 hex digits');
  };
  const row = { leaf, subleaf, eax: register('EAX'), ebx: register('EBX'), ecx: register('ECX'), edx: register('EDX') };
  line.end();
  found.addRow(0, row, (message) => line.fail(message));
}

function rowLines(rows: readonly Numbered[]): string[] {
  return rows.flatMap((row, i) => {
    const values = `EAX=${hex32(row.eax)}, EBX=${hex32(row.ebx)}, ECX=${hex32(row.ecx)}, EDX=${hex32(row.edx)}`;
    if (row.subleaf === 0 && !isIndexedLeaf(row.leaf) && rows[i + 1]?.leaf !== row.leaf)
      return [`${hex32(row.leaf)}: ${values}`];
    const head = rows[i - 1]?.leaf === row.leaf ? [] : [`${hex32(row.leaf)}: subleafs:`];
    return [...head, ` ${row.subleaf.toString().padStart(2)}: ${values}`];
  });
}
