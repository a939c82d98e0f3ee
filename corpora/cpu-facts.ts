/** What conditions ask of a CPU: vendor, family, model, CPUID bits, hypervisor features; read off a CPUID table. */
import type { CpuidTable, Register } from './cpuid.js';

const HYPERVISOR_LEAVES = 0x40000000;
/** Where KVM's own leaves stand: at the base, or above Hyper-V's (QEMU 234cc64796). */
const KVM_BASES = [HYPERVISOR_LEAVES, HYPERVISOR_LEAVES + 0x100];
/** `KVMKVMKVM` in EBX. */
const KVM_SIGNATURE = 0x4b4d564b;
/** `Hv#1` in EAX of the next leaf: the interface is Hyper-V's. */
const HYPERV_INTERFACE = 0x31237648;
const HYPERV_FEATURES = 0x40000003;
/** Synthetic debugger: its properties leaf, bit 1 = its MSRs exist (Linux arch/x86/kvm/hyperv.c). */
const HYPERV_SYNDBG = 0x40000082;

export class CpuFacts {
  readonly cpuid: CpuidTable;
  /** QEMU names of the features that are on; for those that stand in a feature MSR. */
  readonly features: ReadonlySet<string>;
  /** 12 characters. */
  readonly vendor: string;

  constructor(cpuid: CpuidTable, features: Iterable<string>) {
    this.cpuid = cpuid;
    this.features = new Set(features);
    const { ebx = 0, edx = 0, ecx = 0 } = cpuid.get(0) ?? {};
    this.vendor = String.fromCharCode(...new Uint8Array(Uint32Array.of(ebx, edx, ecx).buffer));
  }

  /** As SDM vol. 2A, CPUID leaf 1: the extended family counts only for family 15. */
  get family(): number {
    const base = (this.#signature >> 8) & 0xf;
    return base === 0xf ? base + ((this.#signature >> 20) & 0xff) : base;
  }

  get model(): number {
    const base = (this.#signature >> 4) & 0xf;
    return this.family === 6 || this.family >= 0xf ? base | ((this.#signature >> 12) & 0xf0) : base;
  }

  get #signature(): number {
    return this.cpuid.value(1, null, 'eax');
  }

  /** MAXPHYADDR: 80000008.EAX[7:0], else 36 (SDM vol. 3, 4.1.4). */
  get physicalBits(): number {
    return this.cpuid.value(0x80000008, null, 'eax') & 0xff || 36;
  }

  /** KVM_CPUID_FEATURES.EAX; 0 where the guest is not told of KVM. */
  get kvmFeatures(): number {
    const base = KVM_BASES.find((leaf) => this.cpuid.value(leaf, null, 'ebx') === KVM_SIGNATURE);
    return base === undefined ? 0 : this.cpuid.value(base + 1, null, 'eax');
  }

  /** A register of Hyper-V's feature leaf; 0 where the guest is not told of Hyper-V. */
  hypervFeatures(register: Register): number {
    return this.#hasHyperv ? this.cpuid.value(HYPERV_FEATURES, null, register) : 0;
  }

  get hypervSyndbg(): boolean {
    return this.#hasHyperv && (this.cpuid.value(HYPERV_SYNDBG, null, 'eax') & 2) !== 0;
  }

  get #hasHyperv(): boolean {
    return this.cpuid.value(HYPERVISOR_LEAVES + 1, null, 'eax') === HYPERV_INTERFACE;
  }
}
