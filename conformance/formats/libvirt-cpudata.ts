/** libvirt's CPU data: `<cpudata arch='x86'>` with CPUID rows and MSRs, as its cpu-gather scripts and test data have it. */
import { hex32, hexShort } from '../../corpora/hex.js';
import { CpuCollector } from './cpu-collector.js';
import { type Absent, dumpOf, subleafOf } from './dump.js';
import type { Format } from './format.js';
import { lossesOf, numberedRows } from './losses.js';
import { parseXml, type XmlElement } from './xml-reader.js';

const absent: Absent = { row: 'none', msr: 'open' };
const holds = {
  absent,
  cpus: 'one',
  rows: true,
  msrs: true,
  flags: false,
  openBits: false,
  faults: false,
  names: false,
  facts: [],
} as const;
const ALL = 2n ** 64n - 1n;

export const libvirtCpudata: Format = {
  name: 'libvirt-cpudata',
  title: 'libvirt <cpudata>',
  absent,
  speaks: 'bits',
  recognizes: (text) => /<cpudata[\s>]/.test(text),
  parse(text) {
    const root = parseXml({ format: this.name, text });
    if (root.name !== 'cpudata') throw root.fail(`expected <cpudata>, found <${root.name}>`);
    root.oneOf('arch', ['x86']);
    const found = new CpuCollector();
    found.begin(0);
    for (const element of root.children) read(element, found);
    return { dump: dumpOf(found.cpus(), absent), losses: [] };
  },
  write(dump) {
    const cpu = dump.cpus[0];
    const rows = cpu ? numberedRows(cpu) : [];
    const lines = rows.map(({ leaf, subleaf, eax, ebx, ecx, edx }) => {
      const place = `eax_in='${hex32(leaf)}' ecx_in='0x${subleaf.toString(16).padStart(2, '0')}'`;
      return `  <cpuid ${place} eax='${hex32(eax)}' ebx='${hex32(ebx)}' ecx='${hex32(ecx)}' edx='${hex32(edx)}'/>`;
    });
    const msrs = (cpu?.msrs ?? []).flatMap((msr) =>
      'fault' in msr
        ? []
        : [`  <msr index='${hexShort(msr.index)}' edx='${half(msr.value >> 32n)}' eax='${half(msr.value)}'/>`],
    );
    return {
      text: ["<cpudata arch='x86'>", ...lines, ...msrs, '</cpudata>', ''].join('\n'),
      losses: lossesOf(dump, holds),
    };
  },
};

const half = (value: bigint): string => hex32(Number(BigInt.asUintN(32, value)));

function read(element: XmlElement, found: CpuCollector): void {
  const fail = (message: string): Error => element.fail(message);
  if (element.name === 'cpuid') {
    const leaf = element.hex32('eax_in');
    // libvirt reads a register that is not there as 0 (cpu_x86.c, x86ParseCPUID).
    const register = (name: string): number => element.hex32(name, 0);
    const subleaf = subleafOf(leaf, register('ecx_in'));
    found.addRow(
      0,
      { leaf, subleaf, eax: register('eax'), ebx: register('ebx'), ecx: register('ecx'), edx: register('edx') },
      fail,
    );
  } else if (element.name === 'msr') {
    const value = (BigInt(element.hex32('edx', 0)) << 32n) | BigInt(element.hex32('eax', 0));
    found.addMsr(0, { index: element.hex32('index'), value, mask: ALL }, fail);
  } else throw fail(`expected <cpuid> or <msr>, found <${element.name}>`);
}
