/** The CPU identity: what a pair resolves to. A pure value, never a function of the host. */
import { type CpuidRowJson, CpuidTable } from './cpuid.js';
import { hex32, hex64, parseHex32, parseHex64 } from './hex.js';

/** `-smp` as QEMU reads it, all fields filled in. */
export interface SmpShape {
  readonly cpus: number;
  readonly maxcpus: number;
  readonly sockets: number;
  readonly dies: number;
  readonly modules: number;
  readonly cores: number;
  readonly threads: number;
}

/** One MSR with its reset value. */
export interface MsrValue {
  readonly index: number;
  readonly value: bigint;
}

/** Family, model and stepping as CPUID 1.EAX encodes them. */
export interface Signature {
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
}

/** What one vCPU of a pair shows. */
export interface VcpuIdentity {
  readonly index: number;
  readonly apicId: number;
  readonly cpuid: CpuidTable;
}

/** What the guest of a pair must see. */
export interface CpuIdentity {
  /** `pc-i440fx-2.3/Nehalem,+aes`. */
  readonly pair: string;
  readonly machine: string;
  /** The model as named by the user, without properties. */
  readonly cpuModel: string;
  /** The versioned model that it stands for, e.g. `Nehalem-v1`. */
  readonly modelVersion: string;
  /** 12 characters. */
  readonly vendor: string;
  readonly smp: SmpShape;
  /** CPUID 0.EAX. */
  readonly level: number;
  /** CPUID 80000000.EAX, 0 where the pair has no extended leaves. */
  readonly xlevel: number;
  readonly signature: Signature;
  /** QEMU names of all features that are on, sorted. */
  readonly features: readonly string[];
  readonly vcpus: readonly VcpuIdentity[];
  readonly msrs: readonly MsrValue[];
}

/** An identity as it stands in a file or on a stream. */
export interface CpuIdentityJson extends Omit<CpuIdentity, 'vcpus' | 'msrs'> {
  readonly vcpus: readonly {
    readonly index: number;
    readonly apicId: number;
    readonly cpuid: readonly CpuidRowJson[];
  }[];
  readonly msrs: readonly { readonly index: string; readonly value: string }[];
}

export const identityToJson = (identity: CpuIdentity): CpuIdentityJson => ({
  ...identity,
  vcpus: identity.vcpus.map(({ index, apicId, cpuid }) => ({ index, apicId, cpuid: cpuid.toJSON() })),
  msrs: identity.msrs.map(({ index, value }) => ({ index: hex32(index), value: hex64(value) })),
});

/** Throws `RangeError` on a value that is not hex, or on two rows at one place. */
export const identityFromJson = (json: CpuIdentityJson): CpuIdentity => ({
  ...json,
  vcpus: json.vcpus.map(({ index, apicId, cpuid }) => ({ index, apicId, cpuid: CpuidTable.fromJson(cpuid) })),
  msrs: json.msrs.map(({ index, value }) => ({ index: parseHex32(index), value: parseHex64(value) })),
});
