/** An observation: what a probe guest saw of its CPU. */
import { type CpuidRow, type CpuidRowJson, rowFromJson, rowToJson } from './cpuid.js';
import { hex32, hex64, parseHex32, parseHex64 } from './hex.js';

export type FaultClass = '#GP' | '#UD';

/** An MSR as the guest read it: a value, or the fault that RDMSR raised. */
export type ObservedMsr =
  | { readonly index: number; readonly value: bigint }
  | { readonly index: number; readonly fault: FaultClass };

/** One dump of one vCPU. Register values are unsigned. */
export interface VcpuObservation {
  readonly index: number;
  readonly apicId: number;
  /** Which dump of this boot, from 0. */
  readonly sequence: number;
  readonly cr0: number;
  readonly cr4: number;
  readonly efer: bigint | FaultClass;
  readonly apicBase: bigint | FaultClass;
  /** IA32_XSS: 0xD.1.EBX follows it. */
  readonly xss: bigint | FaultClass;
  /** null until the probe was told to set OSXSAVE, and where the CPU has no XSAVE; the fault where XSETBV raised one. */
  readonly xcr0: bigint | FaultClass | null;
  /** Every (leaf, subleaf) asked, in the order asked; two beyond each maximum and the absent leaf included. */
  readonly cpuid: readonly CpuidRow[];
  readonly msrs: readonly ObservedMsr[];
}

export interface Observation {
  readonly vcpus: readonly VcpuObservation[];
}

export type ObservedMsrJson =
  | { readonly index: string; readonly value: string }
  | { readonly index: string; readonly fault: FaultClass };

/** A vCPU's dump as it stands in JSON outputs and on the agent's stream. */
export interface VcpuObservationJson {
  readonly index: number;
  readonly apicId: number;
  readonly sequence: number;
  readonly cr0: string;
  readonly cr4: string;
  readonly efer: string;
  readonly apicBase: string;
  readonly xss: string;
  readonly xcr0: string | null;
  readonly cpuid: readonly CpuidRowJson[];
  readonly msrs: readonly ObservedMsrJson[];
}

/** A register that may fault, in JSON: 16 hex digits, or the fault class. */
const outcomeToJson = (outcome: bigint | FaultClass): string =>
  typeof outcome === 'bigint' ? hex64(outcome) : outcome;
const outcomeFromJson = (text: string): bigint | FaultClass =>
  text === '#GP' || text === '#UD' ? text : parseHex64(text);

export const vcpuObservationToJson = (seen: VcpuObservation): VcpuObservationJson => ({
  ...seen,
  cr0: hex32(seen.cr0),
  cr4: hex32(seen.cr4),
  efer: outcomeToJson(seen.efer),
  apicBase: outcomeToJson(seen.apicBase),
  xss: outcomeToJson(seen.xss),
  xcr0: seen.xcr0 === null ? null : outcomeToJson(seen.xcr0),
  cpuid: seen.cpuid.map(rowToJson),
  msrs: seen.msrs.map((msr) => {
    const index = hex32(msr.index);
    return 'fault' in msr ? { index, fault: msr.fault } : { index, value: hex64(msr.value) };
  }),
});

/** Throws `RangeError` on a value that is not hex. */
export const vcpuObservationFromJson = (json: VcpuObservationJson): VcpuObservation => ({
  ...json,
  cr0: parseHex32(json.cr0),
  cr4: parseHex32(json.cr4),
  efer: outcomeFromJson(json.efer),
  apicBase: outcomeFromJson(json.apicBase),
  xss: outcomeFromJson(json.xss),
  xcr0: json.xcr0 === null ? null : outcomeFromJson(json.xcr0),
  cpuid: json.cpuid.map(rowFromJson),
  msrs: json.msrs.map((msr) => {
    const index = parseHex32(msr.index);
    return 'fault' in msr ? { index, fault: msr.fault } : { index, value: parseHex64(msr.value) };
  }),
});
