/** Firecracker's fingerprint (`cpu-template-helper fingerprint dump`): a guest's CPUID and MSRs, and the host it ran on. */
import { type Absent, dumpOf } from './dump.js';
import { readModifiers, writeModifiers } from './firecracker-bitmap.js';
import type { Format } from './format.js';
import { JsonValue } from './json-reader.js';
import { listed, lossesOf } from './losses.js';

/** The tool leaves out MSRs that time changes, and those of what Firecracker has not: PMU, MCE, Hyper-V (its MSR_EXCLUSION_LIST); EFER too. */
const absent: Absent = { row: 'answered', msr: 'listed' };
const FACTS = ['firecracker_version', 'kernel_version', 'microcode_version', 'bios_version', 'bios_revision'] as const;
const holds = {
  absent,
  cpus: 'one',
  rows: true,
  msrs: true,
  flags: true,
  openBits: true,
  faults: false,
  names: false,
  facts: [...FACTS, 'kvm_capabilities'],
} as const;
const UNKNOWN = 'unknown';

export const firecrackerFingerprint: Format = {
  name: 'firecracker-fingerprint',
  title: 'Firecracker fingerprint',
  absent,
  speaks: 'bits',
  recognizes: (text) => /"guest_cpu_config"/.test(text),
  parse(text) {
    const root = JsonValue.parse({ format: this.name, text });
    root.only(...FACTS, 'guest_cpu_config');
    const { cpu, facts, losses } = readModifiers(root.get('guest_cpu_config'));
    const host = Object.fromEntries(FACTS.map((fact) => [fact, root.get(fact).string()]));
    return { dump: dumpOf([cpu], absent, { ...host, ...facts }), losses };
  },
  write(dump) {
    const missing = FACTS.filter((fact) => dump.facts[fact] === undefined);
    const fingerprint = {
      ...Object.fromEntries(FACTS.map((fact) => [fact, dump.facts[fact] ?? UNKNOWN])),
      guest_cpu_config: writeModifiers(dump.cpus[0], dump.facts),
    };
    const invented = missing.length ? [`not known, written as "${UNKNOWN}": ${listed(missing)}`] : [];
    return { text: `${JSON.stringify(fingerprint, null, 2)}\n`, losses: [...lossesOf(dump, holds), ...invented] };
  },
};
