/** What a guest of one pair sees otherwise: tables in every shape and reset values of MSRs, before and after, as reasons. */
import { CONTRACT_SHAPES } from '../../corpora/contracts.js';
import { featureName } from '../../corpora/features.js';
import { hex32, hex64 } from '../../corpora/hex.js';
import type { CpuIdentity, MsrValue, VcpuIdentity } from '../../corpora/identity.js';
import { msrLabel } from '../../corpora/msrs.js';
import { type Reason, reason } from '../../corpora/verdict.js';
import { type Alterer, alterations } from '../../reference-vmm/cpu-model/differences.js';
import type { ShapeTables } from './resolved.js';

/**
 * Every difference of the tables, each place once: what shape `1` shows already is not said again for the vCPUs of a larger one.
 * Empty where, and only where, the tables are equal in every shape.
 */
export function tableDifferences(before: Partial<ShapeTables>, after: Partial<ShapeTables>, by: Alterer): Reason[] {
  const said = new Set<string>();
  return CONTRACT_SHAPES.flatMap((smp) => {
    const found = shapeDifferences(before[smp] ?? [], after[smp] ?? [], `smp ${smp}`, by);
    return found.filter((why) => {
      const place = [why.code, why.leaf, why.subleaf, why.register, why.bit].join(' ');
      return said.has(place) ? false : said.add(place);
    });
  });
}

function shapeDifferences(
  before: readonly VcpuIdentity[],
  after: readonly VcpuIdentity[],
  step: string,
  by: Alterer,
): Reason[] {
  if (before.length !== after.length)
    return [
      reason({
        ...{ code: 'definition-topology', step, layer: by.layer },
        ...{ contract: `${before.length}`, guest: `${after.length}` },
        message: `${step}: contract has ${before.length} vCPUs, ${by.name} shows ${after.length}`,
      }),
    ];
  return before.flatMap(({ index, apicId, cpuid }, i) => {
    const other = after[i]!;
    const ids = apicId === other.apicId ? [] : [apicIdReason(index, apicId, other.apicId, step, by)];
    return [...ids, ...alterations(cpuid, other.cpuid, { step, vcpu: index, nameOf: featureName }, by)];
  });
}

const apicIdReason = (vcpu: number, before: number, after: number, step: string, by: Alterer): Reason =>
  reason({
    ...{ code: 'definition-topology', step, vcpu, layer: by.layer, contract: hex32(before), guest: hex32(after) },
    message: `APIC id of vCPU ${vcpu} (${step}): contract ${before}, ${by.name} shows ${after}`,
  });

/** MSRs that exist on one side only or hold another reset value, in either shape. */
export function msrDifferences(
  before: Readonly<Record<string, Pick<CpuIdentity, 'msrs'>>>,
  after: Readonly<Record<string, Pick<CpuIdentity, 'msrs'>>>,
  by: Alterer,
): Reason[] {
  const said = new Set<string>();
  return CONTRACT_SHAPES.flatMap((smp) =>
    differingMsrs(before[smp]!.msrs, after[smp]!.msrs).flatMap(([index, old, now]) => {
      const message = `${msrLabel(index)}: contract ${old ?? 'none'}, ${by.name} shows ${now ?? 'none'}`;
      if (said.has(message)) return [];
      said.add(message);
      const place = { step: `smp ${smp}`, layer: by.layer, msr: hex32(index), contract: old, guest: now };
      return [reason({ code: 'definition-msr-changed', ...place, message })];
    }),
  );
}

function differingMsrs(
  before: readonly MsrValue[],
  after: readonly MsrValue[],
): [number, string | null, string | null][] {
  const [old, now] = [before, after].map((msrs) => new Map(msrs.map(({ index, value }) => [index, hex64(value)])));
  return [...new Set([...old!.keys(), ...now!.keys()])]
    .sort((a, b) => a - b)
    .map((index): [number, string | null, string | null] => [index, old!.get(index) ?? null, now!.get(index) ?? null])
    .filter(([, a, b]) => a !== b);
}
