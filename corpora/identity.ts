/** The CPU identity: what a pair resolves to. A pure value, never a function of the host. */
import { checkedFields, checkedList, checkedNumber, checkedText } from './checked.js';
import { type CpuidRowJson, CpuidTable, REGISTERS } from './cpuid.js';
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

export interface MsrValueJson {
  readonly index: string;
  readonly value: string;
}

export const msrToJson = ({ index, value }: MsrValue): MsrValueJson => ({ index: hex32(index), value: hex64(value) });

/** Throws `RangeError` on a value that is not hex. */
export const msrFromJson = ({ index, value }: MsrValueJson): MsrValue => ({
  index: parseHex32(index),
  value: parseHex64(value),
});

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
  readonly msrs: readonly MsrValueJson[];
}

export const identityToJson = (identity: CpuIdentity): CpuIdentityJson => ({
  ...identity,
  vcpus: identity.vcpus.map(({ index, apicId, cpuid }) => ({ index, apicId, cpuid: cpuid.toJSON() })),
  msrs: identity.msrs.map(msrToJson),
});

/** Of a CPU that this program made. Throws `RangeError` on a value that is not hex, or on two rows at one place. */
export const identityFromJson = (json: CpuIdentityJson): CpuIdentity => ({
  ...json,
  vcpus: json.vcpus.map(({ index, apicId, cpuid }) => ({ index, apicId, cpuid: CpuidTable.fromJson(cpuid) })),
  msrs: json.msrs.map(msrFromJson),
});

const SMP_FIELDS = ['cpus', 'maxcpus', 'sockets', 'dies', 'modules', 'cores', 'threads'] as const;
const UINT32 = 0xffff_ffff;
/** More than any machine type has. */
const VCPU_CAP = 4096;
/** KVM takes 256 rows. */
const ROW_CAP = 4096;
const LIST_CAP = 65_536;
const TEXT_CAP = 65_536;

/** An identity from outside: `identityFromJson` of what is one. Throws `RangeError` on anything else. */
export function checkedIdentity(value: unknown): CpuIdentity {
  const json = checkedFields(value, 'identity');
  for (const name of ['pair', 'machine', 'cpuModel', 'modelVersion', 'vendor'] as const)
    checkedText(json[name], TEXT_CAP, name);
  for (const name of ['level', 'xlevel'] as const) checkedNumber(json[name], UINT32, name);
  const smp = checkedFields(json.smp, 'smp');
  for (const name of SMP_FIELDS) checkedNumber(smp[name], UINT32, `smp.${name}`);
  const signature = checkedFields(json.signature, 'signature');
  for (const name of ['family', 'model', 'stepping'] as const)
    checkedNumber(signature[name], UINT32, `signature.${name}`);
  for (const feature of checkedList(json.features, LIST_CAP, 'features')) checkedText(feature, TEXT_CAP, 'a feature');
  const vcpus = checkedList(json.vcpus, VCPU_CAP, 'vcpus');
  if (vcpus.length === 0) throw new RangeError('an identity without vCPUs');
  vcpus.forEach((vcpu, place) => {
    const { index, apicId, cpuid } = checkedFields(vcpu, 'a vCPU');
    if (checkedNumber(index, VCPU_CAP, 'index') !== place)
      throw new RangeError(`vCPU ${place} says that it is another`);
    checkedNumber(apicId, UINT32, 'apicId');
    for (const row of checkedList(cpuid, ROW_CAP, 'cpuid')) checkedRow(checkedFields(row, 'a CPUID row'));
  });
  for (const msr of checkedList(json.msrs, LIST_CAP, 'msrs')) {
    const fields = checkedFields(msr, 'an MSR');
    for (const name of ['index', 'value'] as const) checkedText(fields[name], 18, `msr ${name}`);
  }
  return identityFromJson(value as CpuIdentityJson);
}

function checkedRow(row: Readonly<Record<string, unknown>>): void {
  if (row.subleaf !== null) checkedText(row.subleaf, 10, 'subleaf');
  for (const name of ['leaf', ...REGISTERS]) checkedText(row[name], 10, name);
}
