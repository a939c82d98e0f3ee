/** Host capabilities from a dump of a KVM's answers. */
import { type CpuidRow, CpuidTable, isIndexedLeaf } from '../../../corpora/cpuid.js';
import { parseHex32, parseHex64 } from '../../../corpora/hex.js';
import type { HostCapabilities, HostFacts } from '../../../corpora/host-capabilities.js';
import { additionsOf, removalsOf } from '../../../reference-vmm/kvm/capabilities.js';
import type { KvmDump } from './capture-schemas.js';

/**
 * The capabilities in a dump. Throws `RangeError` on two rows at one place.
 *
 * What the kernel adds to every guest is read off a vCPU that was given the supported table: an addition that is also supported does
 * not show there, so a dump tells less of a kernel that alters CPUID than a capture does.
 */
export function hostOfDump(dump: KvmDump): HostCapabilities {
  const supported = kvmTable(dump.supportedCpuid);
  // KVM_GET_CPUID2 of 5.10 and 6.1 leaves the count as passed: rows of zeros follow.
  const got = kvmTable(dump.vcpuCpuid.slice(0, dump.supportedCpuid.length));
  const cpuidRemovals = removalsOf(supported, got);
  return {
    facts: factsOf(dump),
    supportedCpuid: supported,
    emulatedCpuid: kvmTable(dump.emulatedCpuid),
    hostCpuid: hostTable(dump.hostCpuid),
    msrIndices: dump.msrIndexList.map(parseHex32),
    featureMsrs: dump.msrFeatureIndexList.flatMap((index) => {
      const value = dump.msrFeatureValues[index];
      return value ? [{ index: parseHex32(index), value: parseHex64(value) }] : [];
    }),
    cpuidAdditions: additionsOf(supported, got),
    ...(cpuidRemovals.rows.length > 0 ? { cpuidRemovals } : {}),
    capabilities: Object.fromEntries(Object.entries(dump.caps).filter(([, value]) => value > 0)),
  };
}

type DumpRow = KvmDump['hostCpuid'][number];

const kvmTable = (rows: KvmDump['supportedCpuid']): CpuidTable =>
  new CpuidTable(rows.map((row) => rowOf(row, (row.flags & 1) !== 0)));

/** Some leaves were asked with several subleaves although they have none. */
const hostTable = (rows: readonly DumpRow[]): CpuidTable =>
  new CpuidTable(
    rows.flatMap((row) => {
      const indexed = isIndexedLeaf(parseHex32(row.leaf));
      return indexed || parseHex32(row.subleaf) === 0 ? [rowOf(row, indexed)] : [];
    }),
  );

const rowOf = ({ leaf, subleaf, eax, ebx, ecx, edx }: DumpRow, indexed: boolean): CpuidRow => ({
  leaf: parseHex32(leaf),
  subleaf: indexed ? parseHex32(subleaf) : null,
  ...{ eax: parseHex32(eax), ebx: parseHex32(ebx), ecx: parseHex32(ecx), edx: parseHex32(edx) },
});

function factsOf(dump: KvmDump): HostFacts {
  const cpu = new Map(
    dump.cpuinfo0.split('\n').map((line) => {
      const at = line.indexOf(':');
      return [line.slice(0, at).trim(), line.slice(at + 1).trim()] as const;
    }),
  );
  const parameters = {
    'kvm.ignore_msrs': dump.paramIgnoreMsrs,
    'kvm.tdp_mmu': dump.paramTdpMmu,
    'kvm_amd.avic': dump.paramAvic,
    'kvm_amd.nested': dump.paramNested,
    'kvm_amd.npt': dump.paramNpt,
    'kvm_amd.tsc_scaling': dump.paramTscScaling,
  };
  return {
    kernel: dump.kernel,
    kernelVersion: dump.kernelVersion,
    // The dump does not name the module; only kvm_amd has this parameter.
    module: dump.paramNpt ? 'kvm_amd' : 'unknown',
    moduleParameters: Object.fromEntries(
      Object.entries(parameters).filter((one): one is [string, string] => typeof one[1] === 'string'),
    ),
    cpuVendor: cpu.get('vendor_id') ?? 'unknown',
    cpuModel: cpu.get('model name') ?? 'unknown',
    microcode: cpu.get('microcode') ?? null,
  };
}
