/** The formats on real output of real tools, and our output read by them; samples stand in where a tool is not installed. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { REGISTERS } from '../../corpora/cpuid.js';
import { packageFile } from '../../corpora/package-root.js';
import { compare, convert } from './convert.js';
import { diffDumps } from './diff.js';
import { subleafOf } from './dump.js';
import { formatNamed, parse, recognize, write } from './formats.js';
import { libvirtNames, qemuNameOf } from './libvirt-names.js';
import type { NamedBit } from './names.js';
import { parseXml, type XmlElement } from './xml-reader.js';

const sample = (name: string): string => readFileSync(packageFile(`conformance/formats/samples/${name}`), 'utf8');
const SAMPLES = {
  cpuid: sample('cpuid.txt'),
  kcpuid: sample('kcpuid.txt'),
  libcpuid: sample('libcpuid.txt'),
  domcaps: sample('domcapabilities.xml'),
  words: sample('feature-words.json'),
};
const installed = (tool: string, ...args: string[]): boolean => spawnSync(tool, args).error === undefined;
const CPUID = installed('cpuid', '--version');
const CPUID_TOOL = installed('cpuid_tool', '--version');

void t.test('cpuid -r: a sample comes back byte by byte', async (t) => {
  t.equal(recognize(SAMPLES.cpuid).name, 'cpuid-raw');
  t.equal(write('cpuid-raw', parse('cpuid-raw', SAMPLES.cpuid).dump).text, SAMPLES.cpuid);
});

void t.test(
  'cpuid -r: this machine comes back byte by byte',
  { skip: !CPUID && 'cpuid is not installed' },
  async (t) => {
    const text = spawnSync('cpuid', ['-r'], { encoding: 'utf8' }).stdout;
    t.equal(write('cpuid-raw', parse('cpuid-raw', text).dump).text, text);
  },
);

void t.test(
  'cpuid -r -f reads what we write of every format that has whole tables',
  { skip: !CPUID && 'cpuid is not installed' },
  async (t) => {
    for (const text of [SAMPLES.cpuid, SAMPLES.libcpuid, SAMPLES.kcpuid]) {
      const ours = convert({ text }, 'cpuid-raw', libvirtNames()).text;
      const file = join(t.testdir(), 'dump');
      writeFileSync(file, ours);
      t.equal(spawnSync('cpuid', ['-r', '-f', file], { encoding: 'utf8' }).stdout, ours);
    }
  },
);

void t.test('kcpuid -r: a sample says what cpuid -r says of the same CPU', async (t) => {
  const { differences } = compare({ text: SAMPLES.kcpuid }, { text: SAMPLES.cpuid }, libvirtNames(), qemuNameOf).diff;
  // Taken on another CPU of the machine; on AMD, kcpuid asks for no subleaves of B.
  const places = differences.map((difference) =>
    difference.kind === 'register' ? `${difference.field.leaf}.${difference.field.subleaf}` : difference.kind,
  );
  t.strictSame(new Set(places), new Set(['1.null', '11.0', '11.1', '11.2', '2147483678.null']));
});

void t.test('libcpuid: a sample comes back byte by byte', async (t) => {
  t.equal(recognize(SAMPLES.libcpuid).name, 'libcpuid-raw');
  t.equal(write('libcpuid-raw', parse('libcpuid-raw', SAMPLES.libcpuid).dump).text, SAMPLES.libcpuid);
});

void t.test(
  "libcpuid of this machine: its tool's whole dump is read and written",
  { skip: !CPUID_TOOL && 'cpuid_tool is not installed' },
  async (t) => {
    const file = join(t.testdir(), 'raw');
    spawnSync('cpuid_tool', [`--save=${file}`]);
    const { dump, losses } = parse('libcpuid-raw', readFileSync(file, 'utf8'));
    t.strictSame(losses, []);
    t.strictSame(parse('libcpuid-raw', write('libcpuid-raw', dump).text).dump, dump);
  },
);

void t.test("libcpuid 0.8: AMD's extended topology has its array", async (t) => {
  const text =
    'version=0.8.2\n\n_________________ Logical CPU #0 _________________\namd_fn80000026h[1]=00000001 00000002 00000201 00000003\n';
  t.match(parse('libcpuid-raw', text).dump.cpus[0]!.cpuid.get(0x80000026, 1), { eax: 1, edx: 3 });
});

void t.test(
  'libcpuid decodes our dump and our AIDA64 text as it decodes its own',
  { skip: !CPUID_TOOL && 'cpuid_tool is not installed' },
  async (t) => {
    const folder = t.testdir();
    const report = (text: string): string => {
      const [input, output] = [join(folder, 'raw'), join(folder, 'report')];
      writeFileSync(input, text);
      spawnSync('cpuid_tool', [`--load=${input}`, '--report', `--outfile=${output}`]);
      return readFileSync(output, 'utf8');
    };
    const { dump } = parse('libcpuid-raw', SAMPLES.libcpuid);
    t.match(report(SAMPLES.libcpuid), /brand_str/);
    t.equal(report(write('libcpuid-raw', dump).text), report(SAMPLES.libcpuid));
    t.equal(report(write('aida64', dump).text), report(SAMPLES.libcpuid));
  },
);

void t.test('virsh domcapabilities: the host-model CPU, the models, and as domain XML', async (t) => {
  const { dump } = parse('libvirt-domcapabilities', SAMPLES.domcaps);
  t.match(dump.named, { mode: 'host-model', model: 'kvm64', vendor: 'AMD' });
  t.match(
    dump.named?.offered.find(({ name }) => name === 'pentium3'),
    { usable: 'yes', vendor: 'unknown' },
  );
  t.equal(dump.named?.offered.length, SAMPLES.domcaps.match(/<model usable=/g)?.length);
  const domain = convert({ text: SAMPLES.domcaps }, 'libvirt-domain', libvirtNames()).text;
  t.strictSame(
    diffDumps(parse('libvirt-domain', domain).dump, { ...dump, named: { ...dump.named!, offered: [] } }, qemuNameOf)
      .differences,
    [],
  );
});

void t.test('every feature that libvirt names has a bit in the dictionary', async (t) => {
  const { dump, losses } = convertedDump(SAMPLES.domcaps);
  t.notMatch(losses, /no bit is known/);
  t.equal(dump.cpus[0]?.cpuid.value(0x80000001, null, 'ecx') ?? 0, 0x393, 'lahf_lm, cmp_legacy, cr8legacy, ...');
  t.match(dump.cpus[0]?.msrs, [{ index: 0x10a, value: 0x69n }]);
});

function convertedDump(text: string): { dump: ReturnType<typeof parse>['dump']; losses: string } {
  const converted = convert({ text }, 'firecracker-template', libvirtNames());
  return { dump: parse('firecracker-template', converted.text).dump, losses: converted.losses.join('; ') };
}

void t.test('feature-words of QEMU: the same words come back', async (t) => {
  type Word = Record<string, unknown>;
  const words = (JSON.parse(SAMPLES.words) as { return: Word[] }).return;
  const ours = JSON.parse(write('feature-words', parse('feature-words', SAMPLES.words).dump).text) as Word[];
  const sorted = (list: readonly Word[]): string[] =>
    list.map((word) => JSON.stringify(word, Object.keys(word).sort())).sort();
  t.strictSame(sorted(ours), sorted(words));
});

void t.test('a dump goes through every format that holds bits, and back to what it was', async (t) => {
  const before = parse('cpuid-raw', SAMPLES.cpuid).dump;
  for (const name of [
    'json',
    'aida64',
    'libvirt-cpudata',
    'firecracker-template',
    'firecracker-fingerprint',
    'feature-words',
    'cloud-hypervisor-profile',
  ]) {
    const format = formatNamed(name);
    const { differences, compared } = diffDumps(format.parse(format.write(before).text).dump, before, qemuNameOf);
    t.strictSame(differences, [], name);
    t.equal(compared, before.cpus[0]!.cpuid.size * 128, name);
  }
});

const CPU_MAP = '/usr/share/libvirt/cpu_map/x86_features.xml';

void t.test(
  'every feature of the CPU map of libvirt has its bit',
  { skip: !existsSync(CPU_MAP) && 'libvirt is not installed' },
  async (t) => {
    const names = libvirtNames();
    const root = parseXml({ format: 'cpu_map', text: readFileSync(CPU_MAP, 'utf8') });
    for (const feature of root.children) {
      const [cpuid, msr] = [feature.child('cpuid'), feature.child('msr')];
      const bits = cpuid ? cpuidBits(cpuid) : msr ? msrBits(msr) : [];
      t.strictSame(names.bitsOf(feature.required('name')), bits, feature.required('name'));
    }
  },
);

void t.test('a VMX control stands in the upper half of its MSR, as in the CPU map of libvirt 12.8', async (t) => {
  const names = libvirtNames();
  for (const [name, msr, bit] of [
    ['vmx-exit-load-efer', 0x48f, 53],
    ['vmx-entry-load-efer', 0x490, 47],
  ] as const) {
    t.strictSame(names.bitsOf(name), [{ place: { msr }, bit }]);
    t.equal(names.nameOf({ msr }, bit), name);
    t.equal(qemuNameOf({ msr }, bit), name);
    t.equal(names.nameOf({ msr }, bit - 32), null);
  }
});

const bitOf = (mask: number): number => 31 - Math.clz32(mask);

const msrBits = (msr: XmlElement): NamedBit[] => {
  const [low, high] = [msr.hex32('eax', 0), msr.hex32('edx', 0)];
  return [{ place: { msr: msr.hex32('index') }, bit: low ? bitOf(low) : 32 + bitOf(high) }];
};

const cpuidBits = (cpuid: XmlElement): NamedBit[] => {
  const leaf = cpuid.hex32('eax_in');
  const subleaf = subleafOf(leaf, cpuid.hex32('ecx_in', 0));
  return REGISTERS.filter((register) => cpuid.hex32(register, 0)).map((register) => ({
    place: { leaf, subleaf, register },
    bit: bitOf(cpuid.hex32(register)),
  }));
};
