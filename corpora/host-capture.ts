/** A capture: host capabilities as JSON, in files and on the agent's stream. */
import { type CpuidRowJson, CpuidTable } from './cpuid.js';
import { hex32, hex64, parseHex32, parseHex64 } from './hex.js';
import type { HostCapabilities, HostFacts } from './host-capabilities.js';

export const CAPTURE_SCHEMA = 'guest-abi/host/1';

export interface HostCaptureJson {
  readonly schema: typeof CAPTURE_SCHEMA;
  readonly facts: HostFacts;
  readonly supportedCpuid: readonly CpuidRowJson[];
  readonly emulatedCpuid: readonly CpuidRowJson[];
  readonly hostCpuid: readonly CpuidRowJson[];
  readonly cpuidAdditions: readonly CpuidRowJson[];
  readonly cpuidRemovals?: readonly CpuidRowJson[] | undefined;
  readonly msrIndices: readonly string[];
  readonly featureMsrs: readonly { readonly index: string; readonly value: string }[];
  readonly capabilities: Readonly<Record<string, number>>;
}

export const captureToJson = (host: HostCapabilities): HostCaptureJson => ({
  schema: CAPTURE_SCHEMA,
  facts: host.facts,
  supportedCpuid: host.supportedCpuid.toJSON(),
  emulatedCpuid: host.emulatedCpuid.toJSON(),
  hostCpuid: host.hostCpuid.toJSON(),
  cpuidAdditions: host.cpuidAdditions.toJSON(),
  ...(host.cpuidRemovals ? { cpuidRemovals: host.cpuidRemovals.toJSON() } : {}),
  msrIndices: host.msrIndices.map(hex32),
  featureMsrs: host.featureMsrs.map(({ index, value }) => ({ index: hex32(index), value: hex64(value) })),
  capabilities: host.capabilities,
});

/** Throws `RangeError` on a value that is not hex, or on two rows at one place. Check untrusted files against the schema first. */
export const captureFromJson = (json: HostCaptureJson): HostCapabilities => ({
  facts: json.facts,
  supportedCpuid: CpuidTable.fromJson(json.supportedCpuid),
  emulatedCpuid: CpuidTable.fromJson(json.emulatedCpuid),
  hostCpuid: CpuidTable.fromJson(json.hostCpuid),
  cpuidAdditions: CpuidTable.fromJson(json.cpuidAdditions),
  ...(json.cpuidRemovals ? { cpuidRemovals: CpuidTable.fromJson(json.cpuidRemovals) } : {}),
  msrIndices: json.msrIndices.map(parseHex32),
  featureMsrs: json.featureMsrs.map(({ index, value }) => ({ index: parseHex32(index), value: parseHex64(value) })),
  capabilities: json.capabilities,
});
