/** QEMU's `qom-get feature-words` and `filtered-features`: registers full of features, as QMP answers them. */
import { type CpuidRow, REGISTERS, type Register } from '../../corpora/cpuid.js';
import { rowName } from './cpu-collector.js';
import { type Absent, dumpOf, maskedCpu, pinnedBits } from './dump.js';
import type { Format } from './format.js';
import { JsonValue } from './json-reader.js';
import { listed, lossesOf } from './losses.js';

const absent: Absent = { row: 'open', msr: 'open' };
const ALL = 0xffffffff;
const holds = {
  absent,
  cpus: 'one',
  rows: true,
  msrs: false,
  flags: true,
  openBits: true,
  faults: false,
  names: false,
  facts: [],
} as const;
/** QEMU lists the registers of X86CPURegister32 (qapi/machine-target.json) by these names. */
const NAMES = { EAX: 'eax', EBX: 'ebx', ECX: 'ecx', EDX: 'edx' } as const;

export const featureWords: Format = {
  name: 'feature-words',
  title: 'QEMU feature-words',
  absent,
  speaks: 'bits',
  recognizes: (text) => /"cpuid-input-eax"/.test(text),
  parse(text) {
    const documents = JsonValue.parseAll({ format: this.name, text });
    const [words, ...others] = documents
      .map((document) => (document.isObject ? document.maybe('return') : document))
      .filter((value) => value?.isArray);
    if (!words) throw documents[0]!.fail('expected an array of feature words, or {"return": [...]}');
    const rows = new Map<string, { row: CpuidRow; mask: CpuidRow }>();
    for (const word of words.items()) readWord(word, rows);
    const passed = documents.length - 1 - others.length;
    const losses =
      others.length + passed
        ? [`only the first list of feature words is read; ${others.length + passed} other documents left out`]
        : [];
    return { dump: dumpOf([maskedCpu(0, [...rows.values()], [])], absent), losses };
  },
  write(dump) {
    const cpu = dump.cpus[0];
    const registers = (cpu?.cpuid.rows ?? []).flatMap((row) =>
      REGISTERS.map((register) => ({ row, register, pinned: pinnedBits(cpu!, row, register) })),
    );
    const words = registers.filter(({ pinned }) => pinned === ALL).map(({ row, register }) => wordOf(row, register));
    const partial = registers
      .filter(({ pinned }) => pinned !== ALL && pinned !== 0)
      .map(({ row, register }) => `${rowName(row)}.${register.toUpperCase()}`);
    return {
      text: `${JSON.stringify(words, null, 2)}\n`,
      losses: [
        ...lossesOf(dump, holds),
        ...(partial.length ? [`whole registers only: left out ${listed(partial)}`] : []),
      ],
    };
  },
};

function readWord(word: JsonValue, rows: Map<string, { row: CpuidRow; mask: CpuidRow }>): void {
  word.only('cpuid-register', 'cpuid-input-eax', 'cpuid-input-ecx', 'features');
  const place = {
    leaf: word.get('cpuid-input-eax').whole(ALL),
    subleaf: word.maybe('cpuid-input-ecx')?.whole(ALL) ?? null,
  };
  const register = NAMES[word.get('cpuid-register').oneOf(['EAX', 'EBX', 'ECX', 'EDX'])];
  const zero = { ...place, eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const { row, mask } = rows.get(rowName(place)) ?? { row: zero, mask: zero };
  if (mask[register] !== 0) throw word.fail(`${register} of CPUID ${rowName(place)} stands twice`);
  rows.set(rowName(place), {
    row: { ...row, [register]: word.get('features').whole(ALL) },
    mask: { ...mask, [register]: ALL },
  });
}

const wordOf = (row: CpuidRow, register: Register): object => ({
  'cpuid-register': register.toUpperCase(),
  'cpuid-input-eax': row.leaf,
  ...(row.subleaf === null ? {} : { 'cpuid-input-ecx': row.subleaf }),
  features: row[register],
});
