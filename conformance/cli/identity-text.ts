/** A CPU identity as text for people. */
import type { CpuidTable } from '../../corpora/cpuid.js';
import { hex32, hex64, hexShort } from '../../corpora/hex.js';
import type { CpuIdentity, VcpuIdentity } from '../../corpora/identity.js';
import { msrLabel } from '../../corpora/msrs.js';
import { msrsOf } from '../../reference-vmm/cpu-model/msrs.js';

export function identityText(identity: CpuIdentity, vcpu: VcpuIdentity, withMsrs: boolean): string {
  const { family, model, stepping } = identity.signature;
  return [
    `${identity.pair}: ${identity.modelVersion}, ${identity.vendor}, family ${family} model ${model} stepping ${stepping}`,
    `level ${hexShort(identity.level)}, xlevel ${hexShort(identity.xlevel)}; vCPU ${vcpu.index} of ${identity.vcpus.length}, APIC id ${vcpu.apicId}`,
    `features: ${identity.features.join(' ')}`,
    ...cpuidLines(vcpu.cpuid),
    ...(withMsrs ? msrLines(identity, vcpu.index) : []),
  ].join('\n');
}

/** What a guest reads after power-on, and what it may write: `MSR 0x000001a0 (IA32_MISC_ENABLE): 0x...  writes 0x..., ignores 0x...`. */
const msrLines = (identity: CpuIdentity, vcpu: number): string[] => {
  const given = new Map(identity.msrs.map(({ index, value }) => [index, value]));
  return msrsOf(identity, vcpu).map(({ index, reset, writable, ignored, definition }) => {
    const value = reset === null ? 'write only' : hex64((vcpu === 0 ? given.get(index) : undefined) ?? reset);
    const masks = [writable ? `writes ${hex64(writable)}` : '', ignored ? `ignores ${hex64(ignored)}` : ''];
    const held = definition.held === 'kernel' ? '' : definition.held;
    return [`${msrLabel(index)}: ${value}`, [...masks, held].filter(Boolean).join(', ')].filter(Boolean).join('  ');
  });
};

/** `  0x00000004 0x01: eax=0x... ebx=0x... ecx=0x... edx=0x...`, as `cpuid -r` writes it; subleaf 0x00 where there is none. */
export const cpuidLines = (table: Pick<CpuidTable, 'rows'>): string[] =>
  table.rows.map(
    ({ leaf, subleaf, eax, ebx, ecx, edx }) =>
      `   ${hex32(leaf)} 0x${(subleaf ?? 0).toString(16).padStart(2, '0')}: eax=${hex32(eax)} ebx=${hex32(ebx)} ecx=${hex32(ecx)} edx=${hex32(edx)}`,
  );
