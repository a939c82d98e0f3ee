/** Hypervisor CPUID leaves: KVM's own, Hyper-V's enlightenments before them, and the timing leaf. */
import type { CpuidRow } from '../../corpora/cpuid.js';
import { InputError } from '../../corpora/errors.js';
import type { Registers } from './caches.js';
import type { ExpandedCpu } from './cpu.js';
import { vendorWords, zero } from './leaves-basic.js';

const BASE = 0x40000000;
/** Where KVM's leaves go when Hyper-V's stand first (Linux Documentation/virt/kvm/x86/cpuid.rst). */
const BASE_BEHIND_HYPERV = 0x40000100;
/** TSC and APIC bus frequency, as VMware shows them. */
const TIMING = 0x40000010;
/** KVM's APIC bus runs at 1 GHz (Linux KVM, APIC_BUS_FREQUENCY). */
const APIC_BUS_KHZ = 1_000_000;

/** All rows from 0x40000000 on. Throws `InputError` where an enlightenment lacks another one that it needs. */
export function hypervisorRows(cpu: ExpandedCpu): CpuidRow[] {
  if (cpu.accelerator === 'tcg') return tcgRows(cpu);
  const hyperv = hasHyperV(cpu);
  const rows = hyperv ? hyperVRows(cpu) : [];
  if (!cpu.on('kvm')) return rows;
  const base = hyperv ? BASE_BEHIND_HYPERV : BASE;
  const khz = hyperv ? 0 : knownTscKhz(cpu);
  const [ebx, ecx, edx] = [0x4b4d564b, 0x564b4d56, 0x0000004d];
  rows.push(row(base, { eax: khz ? TIMING : base | 1, ebx, ecx, edx }));
  rows.push(row(base | 1, { ...zero(), eax: cpu.word(BASE | 1, null, 'eax'), edx: cpu.word(BASE | 1, null, 'edx') }));
  if (khz) rows.push(row(TIMING, { ...zero(), eax: khz, ebx: APIC_BUS_KHZ }));
  return rows;
}

/** TCG names itself where `tcg-cpuid` is on; its range has these two leaves either way (QEMU, cpu_x86_cpuid). */
function tcgRows(cpu: ExpandedCpu): CpuidRow[] {
  const [ebx, ecx, edx] = [0x54474354, 0x43544743, 0x47435447];
  const base = cpu.on('tcg-cpuid') ? { eax: BASE | 1, ebx, ecx, edx } : zero();
  return [row(BASE, base), row(BASE | 1, zero())];
}

const row = (leaf: number, registers: Registers): CpuidRow => ({ leaf, subleaf: null, ...registers });

/** The frequency where it is pinned (QEMU also shows the host's with invtsc: a named dimension here), else 0. */
const knownTscKhz = (cpu: ExpandedCpu): number =>
  cpu.on('vmware-cpuid-freq') ? Math.floor(cpu.number('tsc-frequency') / 1000) : 0;

/** An enlightenment: bits of leaves 40000003, 40000004 and 4000000A (Hyper-V TLFS, 2.4), and what it needs. */
interface Enlightenment {
  readonly features?: number;
  readonly featuresEdx?: number;
  readonly hints?: number;
  readonly nested?: number;
  readonly needs?: readonly string[];
}

const bit = (...bits: number[]): number => bits.reduce((value, one) => value | (1 << one), 0);

const ENLIGHTENMENTS: Readonly<Record<string, Enlightenment>> = {
  'hv-relaxed': { hints: bit(5) },
  'hv-vapic': { features: bit(4) },
  'hv-time': { features: bit(1, 9) },
  'hv-crash': { featuresEdx: bit(10) },
  'hv-reset': { features: bit(7) },
  'hv-vpindex': { features: bit(6) },
  'hv-runtime': { features: bit(0) },
  'hv-synic': { features: bit(2) },
  'hv-stimer': { features: bit(3), needs: ['hv-synic', 'hv-time'] },
  'hv-frequencies': { features: bit(11), featuresEdx: bit(8) },
  'hv-reenlightenment': { features: bit(13) },
  'hv-tlbflush': { hints: bit(2, 11), needs: ['hv-vpindex'] },
  'hv-evmcs': { hints: bit(14), nested: 0x101, needs: ['hv-vapic'] },
  'hv-ipi': { hints: bit(10, 11), needs: ['hv-vpindex'] },
  'hv-stimer-direct': { featuresEdx: bit(19), needs: ['hv-stimer'] },
  'hv-avic': { hints: bit(9) },
  'hv-syndbg': { featuresEdx: bit(11), needs: ['hv-synic', 'hv-relaxed'] },
  'hv-emsr-bitmap': { nested: bit(19) },
  'hv-xmm-input': { featuresEdx: bit(4) },
  'hv-tlbflush-ext': { featuresEdx: bit(14), needs: ['hv-tlbflush'] },
  'hv-tlbflush-direct': { nested: bit(17), needs: ['hv-vapic'] },
};

/** QEMU's value for "never notify": no spinlock enlightenment. */
const NEVER = 0xffffffff;

const hasHyperV = (cpu: ExpandedCpu): boolean =>
  cpu.number('hv-spinlocks') !== NEVER || Object.keys(ENLIGHTENMENTS).some((name) => cpu.on(name));

const INTERFACE_HV1 = 0x31237648;
const HYPERCALL = bit(5);
/** With one of these hypercalls were told of, before they always were. */
const WITH_HYPERCALL = ['hv-relaxed', 'hv-vapic', 'hv-time'];
const MESSAGES_AND_SIGNALS = bit(4, 5);
const DYNAMIC_PARTITIONING = bit(3);
const APIC_MSRS_RECOMMENDED = bit(3);
const NO_NONARCH_CORESHARING = bit(18);

function hyperVRows(cpu: ExpandedCpu): CpuidRow[] {
  const on = Object.entries(ENLIGHTENMENTS).filter(([name]) => cpu.on(name));
  for (const [name, { needs = [] }] of on) for (const need of needs) requireEnlightenment(cpu, name, need);
  const own = cpu.on('x-hv-synic-kvm-only');
  if (cpu.on('hv-synic') && !own) requireEnlightenment(cpu, 'hv-synic', 'hv-vpindex');
  const bits = (field: 'features' | 'featuresEdx' | 'hints' | 'nested'): number =>
    on.reduce((value, [, one]) => value | (one[field] ?? 0), 0);
  const byNeed = cpu.behaviours.has('hv-privileges-by-need');
  const nested = bits('nested');
  const debug = cpu.on('hv-syndbg');
  const [ebx, ecx, edx] = signature(cpu.text('hv-vendor-id') ?? 'Microsoft Hv');
  const max = debug ? 0x40000082 : nested ? 0x4000000a : 0x40000005;
  const rows = [
    row(BASE, { eax: max, ebx, ecx, edx }),
    row(BASE | 1, { ...zero(), eax: INTERFACE_HV1 }),
    row(BASE | 2, version(cpu)),
    row(BASE | 3, {
      ...zero(),
      eax: bits('features') | (!byNeed || WITH_HYPERCALL.some((name) => cpu.on(name)) ? HYPERCALL : 0),
      ebx: cpu.on('hv-synic') && !own && !byNeed ? MESSAGES_AND_SIGNALS : 0,
      edx: bits('featuresEdx') | DYNAMIC_PARTITIONING,
    }),
    row(BASE | 4, { ...zero(), eax: bits('hints') | recommendations(cpu), ebx: cpu.number('hv-spinlocks') }),
    row(BASE | 5, { ...zero(), eax: cpu.number('x-hv-max-vps') >>> 0, ebx: 64 }),
  ];
  if (nested) {
    for (let leaf = 6; leaf < 0xa; leaf++) rows.push(row(BASE | leaf, zero()));
    rows.push(row(BASE | 0xa, { ...zero(), eax: nested }));
  }
  return debug ? [...rows, ...debuggerRows()] : rows;
}

/** The three registers of a 12-character signature, as leaf 40000000 has them. */
function signature(text: string): readonly [ebx: number, ecx: number, edx: number] {
  const [first, second, third] = vendorWords(text.slice(0, 12));
  return [first, second, third];
}

function recommendations(cpu: ExpandedCpu): number {
  const apicMsrs = cpu.on('hv-vapic') && !cpu.on('hv-avic') ? APIC_MSRS_RECOMMENDED : 0;
  return apicMsrs | (cpu.text('hv-no-nonarch-coresharing') === 'on' ? NO_NONARCH_CORESHARING : 0);
}

const version = (cpu: ExpandedCpu): Registers => ({
  eax: cpu.number('hv-version-id-build'),
  ebx: (cpu.number('hv-version-id-major') << 16) | cpu.number('hv-version-id-minor'),
  ecx: cpu.number('hv-version-id-spack'),
  edx: (cpu.number('hv-version-id-sbranch') << 24) | (cpu.number('hv-version-id-snumber') & 0xffffff),
});

/** The synthetic debugger's leaves: `Microsoft VS`, `VS#1`, and that the kernel debugger is allowed. */
function debuggerRows(): CpuidRow[] {
  const [ebx, ecx, edx] = signature('Microsoft VS');
  return [
    row(0x40000080, { eax: 0, ebx, ecx, edx }),
    row(0x40000081, { ...zero(), eax: 0x31235356 }),
    row(0x40000082, { ...zero(), eax: bit(1) }),
  ];
}

function requireEnlightenment(cpu: ExpandedCpu, name: string, need: string): void {
  if (!cpu.on(need)) throw new InputError('missing-enlightenment', `${name} needs ${need}`, { given: name });
}
