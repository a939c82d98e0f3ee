import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { InputError } from '../../corpora/errors.js';
import { type CpuDump, subleafOf } from './dump.js';
import { anyDump, anyPlace, dumpsOf, namedCpu, numberedPlace, type Shape } from './dumps.arbitrary.js';
import type { Written } from './format.js';
import { FORMATS, formatNamed, recognize } from './formats.js';

const word = fc.stringMatching(/^[\w.-]{1,8}$/);
const libcpuidPlace = fc
  .oneof(
    fc.integer({ min: 0, max: 31 }).map((leaf) => ({ leaf, subleaf: 0 })),
    fc.integer({ min: 0x80000000, max: 0x8000001f }).map((leaf) => ({ leaf, subleaf: 0 })),
    fc.integer({ min: 0, max: 7 }).map((subleaf) => ({ leaf: 4, subleaf })),
    fc.integer({ min: 0, max: 3 }).map((subleaf) => ({ leaf: 0x8000001d, subleaf })),
  )
  .map(({ leaf, subleaf }) => ({ leaf, subleaf: subleafOf(leaf, subleaf) }));
const indexed = numberedPlace();
const kcpuidPlace = numberedPlace(
  fc.oneof(fc.integer({ min: 0, max: 0x30 }), fc.integer({ min: 0x80000000, max: 0x80000030 })),
);
const offered = fc.uniqueArray(
  fc.record(
    {
      name: word,
      usable: fc.constantFrom('yes', 'no', 'unknown'),
      vendor: fc.option(word),
      canonical: fc.option(word),
      blockers: fc.uniqueArray(word, { maxLength: 3 }),
    },
    { noNullPrototype: true },
  ),
  { selector: ({ name }) => name, maxLength: 4 },
);
const FINGERPRINT_FACTS = [
  'firecracker_version',
  'kernel_version',
  'microcode_version',
  'bios_version',
  'bios_revision',
];

/** What each format holds without loss. */
const SHAPES: Readonly<Record<string, Omit<Shape, 'absent'>>> = {
  json: { cpus: 'many', leaf: anyPlace, pinned: 'bits', msrs: 'faults', named: fc.option(namedCpu) },
  'cpuid-raw': { cpus: 'many', leaf: indexed },
  'kcpuid-raw': { cpus: 'one', leaf: kcpuidPlace, zeroRows: false },
  aida64: { cpus: 'many', leaf: indexed, msrs: 'faults' },
  'libvirt-cpudata': { cpus: 'one', leaf: indexed, msrs: 'values' },
  'libcpuid-raw': { cpus: 'many', leaf: libcpuidPlace },
  'firecracker-fingerprint': {
    ...{ cpus: 'one', leaf: anyPlace, pinned: 'bits', msrs: 'bits' },
    facts: fc
      .tuple(word, word, word, word, word)
      .map((values) => Object.fromEntries(FINGERPRINT_FACTS.map((key, i) => [key, values[i]!]))),
  },
  'firecracker-template': { cpus: 'one', leaf: anyPlace, pinned: 'bits', msrs: 'bits' },
  'firecracker-msr-csv': { cpus: 'one', rows: false, msrs: 'values' },
  'feature-words': { cpus: 'one', leaf: anyPlace, pinned: 'registers' },
  'libvirt-domain': { cpus: 'none', named: namedCpu },
  'libvirt-domcapabilities': {
    cpus: 'none',
    named: fc.tuple(namedCpu, offered).map(([named, offered]) => ({ ...named, mode: 'host-model', offered })),
  },
  'cloud-hypervisor-profile': {
    cpus: 'one',
    leaf: indexed,
    pinned: 'bits',
    facts: fc.record({ hypervisor: word, cpu_vendor: word }, { noNullPrototype: true }),
  },
};

const RUNS = { seed: 1, numRuns: 60 };

for (const format of FORMATS) {
  const shape = SHAPES[format.name]!;
  const held = dumpsOf({ ...shape, absent: format.absent });

  void t.test(
    `${format.name}: what the format holds comes back as it was, and nothing is said to be lost`,
    async () => {
      fc.assert(
        fc.property(held, (dump) => {
          const written = format.write(dump);
          assert.deepEqual(written.losses, []);
          assert.deepEqual(format.parse(written.text), { dump, losses: [] });
        }),
        RUNS,
      );
    },
  );

  void t.test(`${format.name}: is recognized`, async () => {
    const something = held.filter(
      ({ cpus }) => shape.cpus === 'none' || (shape.rows === false ? true : cpus.every(({ cpuid }) => cpuid.size > 0)),
    );
    fc.assert(
      fc.property(something, (dump) => {
        const { text } = format.write(dump);
        assert.equal(recognize(text).name, format.name);
        assert.deepEqual(
          FORMATS.filter((other) => other.recognizes(text)).map(({ name }) => name),
          [format.name],
        );
      }),
      RUNS,
    );
  });

  void t.test(`${format.name}: of any dump, what does not come back is said to be lost`, async () => {
    fc.assert(
      fc.property(anyDump, (dump) => {
        const written = writtenOrRefused(format.name, dump);
        if (!written) return;
        const back = format.parse(written.text);
        if (!isDeepStrictEqual(back.dump, dump)) assert.notEqual(written.losses.length + back.losses.length, 0);
        assert.equal(format.write(back.dump).text, written.text);
      }),
      RUNS,
    );
  });

  void t.test(`${format.name}: a damaged text is read otherwise or refused with line and column`, async () => {
    const damage = fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      cut: fc.integer({ min: 0, max: 3 }),
      put: fc.constantFrom('', 'z', '0', '"', '<', '\n', '=', ',', '{'),
    });
    fc.assert(
      fc.property(held, damage, (dump, { at, cut, put }) => {
        const { text } = format.write(dump);
        const offset = Math.floor(at * text.length);
        const damaged = text.slice(0, offset) + put + text.slice(offset + cut);
        try {
          format.parse(damaged);
        } catch (error) {
          if (!(error instanceof InputError)) throw error;
          assert.match(error.message, new RegExp(`^${format.name}: line \\d+, column \\d+: `));
        }
      }),
      { ...RUNS, numRuns: 200 },
    );
  });
}

/** Formats in names refuse a dump without them. */
function writtenOrRefused(name: string, dump: CpuDump): Written | undefined {
  try {
    return formatNamed(name).write(dump);
  } catch (error) {
    if (error instanceof InputError && ['no-names', 'no-model'].includes(error.code)) return undefined;
    throw error;
  }
}
