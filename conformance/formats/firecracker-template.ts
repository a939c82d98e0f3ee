/** Firecracker's custom CPU template: the bits that it sets in KVM's supported CPUID, and in MSRs. */
import { type Absent, dumpOf } from './dump.js';
import { readModifiers, writeModifiers } from './firecracker-bitmap.js';
import type { Format } from './format.js';
import { JsonValue } from './json-reader.js';
import { lossesOf } from './losses.js';

const absent: Absent = { row: 'host', msr: 'default' };
const holds = {
  absent,
  cpus: 'one',
  rows: true,
  msrs: true,
  flags: true,
  openBits: true,
  faults: false,
  names: false,
  facts: ['kvm_capabilities'],
} as const;

export const firecrackerTemplate: Format = {
  name: 'firecracker-template',
  title: 'Firecracker custom CPU template',
  absent,
  speaks: 'bits',
  recognizes: (text) => /"(cpuid|msr|reg)_modifiers"/.test(text) && !/"guest_cpu_config"/.test(text),
  parse(text) {
    const { cpu, facts, losses } = readModifiers(JsonValue.parse({ format: this.name, text }));
    return { dump: dumpOf([cpu], absent, facts), losses };
  },
  write(dump) {
    const template = writeModifiers(dump.cpus[0], dump.facts);
    return { text: `${JSON.stringify(template, null, 2)}\n`, losses: lossesOf(dump, holds) };
  },
};
