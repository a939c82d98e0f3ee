/** The witness probe for a pair: what it is to watch, and the boot that brings it. */
import type { CpuIdentity } from '../corpora/identity.js';
import {
  encodeWitnessRequest,
  WITNESS_CPUID_CAP,
  WITNESS_MSR_CAP,
  type WitnessRequest,
  witnessPages,
} from '../corpora/witness-abi.js';
import { probeImage, probeImagePath } from '../guest-probes/images.js';
import type { BootModule, BootOptions } from '../reference-vmm/boot/plan.js';
import { countsTime } from '../reference-vmm/cpu-model/msrs.js';

export interface WitnessOptions
  extends Partial<Pick<WitnessRequest, 'firstPages' | 'growth' | 'pace' | 'seed' | 'xcr0'>> {
  /** The guest's RAM, all of which is watched but for its first 2 MiB. */
  readonly memoryBytes: number;
  /** Pages of each vCPU's slice at most; default all that fit. */
  readonly lastPages?: number;
}

/** Every CPUID row of the first vCPU, every MSR that does not count time, and memory. */
export function witnessRequest(identity: CpuIdentity, options: WitnessOptions): WitnessRequest {
  const [first, ...others] = identity.vcpus;
  const { memoryBytes, lastPages = witnessPages(memoryBytes, identity.vcpus.length), ...more } = options;
  return {
    cpuid: first!.cpuid.rows.map(({ leaf, subleaf }) => ({ leaf, subleaf: subleaf ?? 0 })).slice(0, WITNESS_CPUID_CAP),
    msrs: identity.msrs
      .map(({ index }) => index)
      .filter((index) => !countsTime(index))
      .slice(0, WITNESS_MSR_CAP),
    apicIds: others.map(({ apicId }) => apicId),
    lastPages,
    ...more,
  };
}

export const requestModule = (request: WitnessRequest): BootModule => ({
  text: 'request',
  bytes: encodeWitnessRequest(request),
});

export const witnessBoot = (identity: CpuIdentity, options: WitnessOptions): BootOptions => ({
  image: { name: probeImagePath('witness'), bytes: probeImage('witness') },
  modules: [requestModule(witnessRequest(identity, options))],
});
