/** A CPU identity as text for people. */
import type { CpuidTable } from '../../corpora/cpuid.js';
import { hex32, hex64, hexShort } from '../../corpora/hex.js';
import type { CpuIdentity, VcpuIdentity } from '../../corpora/identity.js';

export function identityText(identity: CpuIdentity, vcpu: VcpuIdentity, withMsrs: boolean): string {
  const { family, model, stepping } = identity.signature;
  return [
    `${identity.pair}: ${identity.modelVersion}, ${identity.vendor}, family ${family} model ${model} stepping ${stepping}`,
    `level ${hexShort(identity.level)}, xlevel ${hexShort(identity.xlevel)}; vCPU ${vcpu.index} of ${identity.vcpus.length}, APIC id ${vcpu.apicId}`,
    `features: ${identity.features.join(' ')}`,
    ...cpuidLines(vcpu.cpuid),
    ...(withMsrs ? identity.msrs.map(({ index, value }) => `MSR ${hex32(index)}: ${hex64(value)}`) : []),
  ].join('\n');
}

/** `  0x00000004 0x01: eax=0x... ebx=0x... ecx=0x... edx=0x...`, as `cpuid -r` writes it; subleaf 0x00 where there is none. */
export const cpuidLines = (table: Pick<CpuidTable, 'rows'>): string[] =>
  table.rows.map(
    ({ leaf, subleaf, eax, ebx, ecx, edx }) =>
      `   ${hex32(leaf)} 0x${(subleaf ?? 0).toString(16).padStart(2, '0')}: eax=${hex32(eax)} ebx=${hex32(ebx)} ecx=${hex32(ecx)} edx=${hex32(edx)}`,
  );
