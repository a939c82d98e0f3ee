import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { runCli } from './run-cli.js';

const ROW = (ecx: string): string =>
  `CPU:\n   0x00000001 0x00: eax=0x000106a3 ebx=0x00000800 ecx=${ecx} edx=0x078bfbff\n`;
const folder = t.testdir();
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const [a, b] = [file('a', ROW('0x80b82201')), file('b', ROW('0x82b82201'))];
const msrs = file('msrs', 'MSR_ADDR,VALUE\n0x10a,0x1\n');

void t.test('convert writes the other format to stdout, and what is lost to stderr', async (t) => {
  const end = await runCli(['convert', '--to', 'feature-words', a]);
  t.equal(end.code, 0);
  t.match(JSON.parse(end.stdout), [
    { 'cpuid-register': 'EAX' },
    { 'cpuid-register': 'EBX' },
    { 'cpuid-register': 'ECX', features: 0x80b82201 },
    {},
  ]);
  t.match(end.stderr, /^guest-abi: feature-words: a row that is not listed is open/);
  const json = await runCli(['convert', '--to', 'json', '--json', a]);
  t.match(JSON.parse(json.stdout), {
    schema: 'guest-abi/convert/1',
    from: 'cpuid-raw',
    to: 'json',
    losses: [],
    dump: { cpus: [{ index: 0 }] },
  });
});

void t.test('diff of two observations tells MSRs by name, and their bits', async (t) => {
  const observation = (name: string, msrs: object[]): string =>
    file(name, JSON.stringify({ schema: 'guest-abi/probe/1', pair: 'pc/M', vcpus: [{ index: 0, cpuid: [], msrs }] }));
  const one = observation('one', [
    { index: '0x10a', value: '0x2b' },
    { index: '0xc0000103', value: '0x1' },
  ]);
  const two = observation('two', [
    { index: '0x10a', value: '0x8000029' },
    { index: '0xc0000103', fault: '#GP' },
  ]);
  t.match(await runCli(['diff', one, two]), {
    code: 1,
    stdout: [
      'CPU 0: MSR 0x0000010a (IA32_ARCH_CAPABILITIES) 0x000000000000002b in A, 0x0000000008000029 in B: A has ibrs-all; B has rfds-no',
      'CPU 0: MSR 0xc0000103 (IA32_TSC_AUX) 0x0000000000000001 in A, #GP in B',
    ].join('\n'),
  });
});

void t.test('diff: 0 where the same, 1 where not, 3 where nothing could be compared', async (t) => {
  const same = await runCli(['diff', a, a]);
  t.strictSame([same.code, same.stdout], [0, '0 differences; 128 bits and names compared, 0 open on one side\n']);
  const different = await runCli(['diff', a, b]);
  t.equal(different.code, 1);
  t.match(different.stdout, 'CPU 0: 1.ECX 0x80b82201 in A, 0x82b82201 in B: B has aes\n1 difference; ');
  const json = await runCli(['diff', '--json', a, b]);
  t.match(JSON.parse(json.stdout), {
    schema: 'guest-abi/diff/1',
    same: false,
    differences: [{ leaf: '0x00000001', register: 'ecx', bits: [{ bit: 25, a: 0, b: 1, name: 'aes' }] }],
  });
  const nothing = await runCli(['diff', a, msrs]);
  t.strictSame([nothing.code, nothing.stdout], [3, '']);
  t.match(nothing.stderr, /nothing compared/);
});

const BAD: readonly (readonly [args: readonly string[], says: RegExp])[] = [
  [
    ['convert', '--to', 'cpuid-raw', file('bad', 'CPU:\n   0x1 0x0: eax=z\n')],
    /cpuid-raw: line 2, column 13: expected eax=0x/,
  ],
  [['convert', '--to', 'cpuid-row', a], /unknown format 'cpuid-row': cpuid-raw, /],
  [['convert', '--to', 'json', file('empty', '')], /not recognized; give --from/],
  [['convert', '--to', 'json', join(folder, 'none')], /none: ENOENT/],
  [['convert', a], /--to/],
  [['diff', a], /missing required argument 'b'/],
];

for (const [args, says] of BAD)
  void t.test(`${args[0]}: bad input is one line and exit 2: ${says.source}`, async (t) => {
    const end = await runCli(args);
    t.strictSame([end.code, end.stdout, end.stderr.split('\n').length], [2, '', 2]);
    t.match(end.stderr, says);
  });
