/** Reads the host capabilities of a `Kvm`, whatever its maker. */
import { type CpuidRow, CpuidTable, REGISTERS } from '../../corpora/cpuid.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { derivedTable, POWER_ON } from '../cpu-model/derived.js';
import { FEATURE_WORDS } from '../cpu-model/offered.js';
import { CAPABILITIES, type Capability } from './capability.js';
import type { Kvm } from './kvm.js';
import { KvmError } from './kvm-error.js';

const known = new WeakMap<Kvm, HostCapabilities>();

/** The capabilities of `kvm`, read once for each: it takes a millisecond and a VM. Throws `KvmError`. */
export function hostCapabilities(kvm: Kvm): HostCapabilities {
  const before = known.get(kvm);
  if (before) return before;
  const read = readHostCapabilities(kvm);
  known.set(kvm, read);
  return read;
}

function readHostCapabilities(kvm: Kvm): HostCapabilities {
  const supportedCpuid = kvm.supportedCpuid();
  using vm = kvm.createVm();
  const capabilities = (Object.keys(CAPABILITIES) as Capability[])
    .map((name) => [name, vm.checkExtension(name)] as const)
    .filter(([, value]) => value !== 0);
  const bare = bareTable(supportedCpuid);
  const vcpu = vm.createVcpu(0);
  vcpu.setCpuid2(bare);
  const cpuidAdditions = additionsOf(bare, vcpu.getCpuid2());
  vcpu.setCpuid2(supportedCpuid);
  const cpuidRemovals = removalsOf(supportedCpuid, vcpu.getCpuid2());
  return {
    facts: kvm.facts,
    supportedCpuid,
    emulatedCpuid: emulatedCpuid(kvm),
    hostCpuid: kvm.hostCpuid(),
    msrIndices: kvm.msrIndices(),
    featureMsrs: kvm.featureMsrs(),
    cpuidAdditions,
    ...(cpuidRemovals.rows.length > 0 ? { cpuidRemovals } : {}),
    capabilities: Object.fromEntries(capabilities),
  };
}

/** Kernels without KVM_CAP_EXT_EMUL_CPUID emulate nothing. */
function emulatedCpuid(kvm: Kvm): CpuidTable {
  try {
    return kvm.emulatedCpuid();
  } catch (error) {
    if (error instanceof KvmError && error.errno === 'ENOTTY') return new CpuidTable([]);
    throw error;
  }
}

const NOTHING = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
/** The least that a leaf 0xD may say: x87 and SSE. KVM computes sizes even into a row of zeros. */
const LEAST_XSAVE = { eax: 3, ebx: 0x240, ecx: 0x240, edx: 0 };

/** KVM sets 1.EDX[9] from the APIC base whatever it was given (Linux arch/x86/kvm/cpuid.c): not given, it would show as added. */
const LEAST_FEATURES = { ...NOTHING, edx: 1 << 9 };

/** A table without any feature: this host's ranges and vendor, and an empty row for every feature word. */
function bareTable(supported: CpuidTable): CpuidTable {
  const places = new Map(FEATURE_WORDS.map(([leaf, subleaf]) => [`${leaf}.${subleaf}`, { leaf, subleaf }]));
  return new CpuidTable([
    ...[0, 0x80000000].flatMap((leaf) => supported.get(leaf) ?? []),
    ...[...places.values()].map((place) => ({
      ...place,
      ...leastRow(place.leaf, place.subleaf),
    })),
  ]);
}

function leastRow(leaf: number, subleaf: number | null): typeof NOTHING {
  if (leaf === 0xd && subleaf === 0) return LEAST_XSAVE;
  return leaf === 1 ? LEAST_FEATURES : NOTHING;
}

/** The bits that came back and were not given; rows without any are left out. */
export function additionsOf(given: CpuidTable, got: CpuidTable): CpuidTable {
  const expected = derivedTable(given, POWER_ON);
  const rows = got.rows.map((row): CpuidRow => {
    const before = expected.get(row.leaf, row.subleaf);
    const added = Object.fromEntries(REGISTERS.map((name) => [name, (row[name] & ~(before?.[name] ?? 0)) >>> 0]));
    return { ...row, ...added };
  });
  return new CpuidTable(rows.filter((row) => REGISTERS.some((name) => row[name] !== 0)));
}

/** Feature bits that were given and did not come back; rows without any are left out. */
export function removalsOf(given: CpuidTable, got: CpuidTable): CpuidTable {
  const derived = derivedTable(given, POWER_ON);
  const rows = new Map<string, CpuidRow>();
  for (const [leaf, subleaf, register] of FEATURE_WORDS) {
    const expected = derived.value(leaf, subleaf, register);
    const lost = (expected & ~got.value(leaf, subleaf, register)) >>> 0;
    if (lost === 0) continue;
    const key = `${leaf}.${subleaf}`;
    rows.set(key, { ...(rows.get(key) ?? { leaf, subleaf, ...NOTHING }), [register]: lost });
  }
  return new CpuidTable(rows.values());
}
