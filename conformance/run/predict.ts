/** The verdict that follows from host captures and identity alone: nothing is booted. */
import { featureName } from '../../corpora/features.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import type { VcpuIdentity } from '../../corpora/identity.js';
import type { Reason, Verdict } from '../../corpora/verdict.js';
import { withAdditions } from '../../reference-vmm/cpu-model/additions.js';
import { alterations, shortfallReasons } from '../../reference-vmm/cpu-model/differences.js';
import { isOpen } from '../../reference-vmm/cpu-model/msrs.js';
import { shortfalls } from '../../reference-vmm/cpu-model/offered.js';
import { msrLimitReasons } from '../../reference-vmm/msr-limits.js';
import type { Cell } from './cell.js';

export interface PredictOptions {
  readonly allowAltered: boolean;
  readonly forceFeatures: boolean;
}

export interface Prediction {
  readonly verdict: Verdict;
  readonly reasons: readonly Reason[];
}

/** `refused` where a host of the path lacks a bit or adds one; `altered` where it adds one and that is allowed; else `identical`. */
export function predict(cell: Pick<Cell, 'identity' | 'hosts'>, options: PredictOptions): Prediction {
  const hosts = [...new Set(cell.hosts)].map((host) => host.capabilities);
  const each = hosts.flatMap((host) => cell.identity.vcpus.map((vcpu) => onHost(vcpu, host)));
  const lacking = options.forceFeatures ? [] : each.flatMap(({ missing }) => missing);
  const limits = hosts.flatMap((host) => msrLimitReasons(host, isOpen(cell.identity), 'predicted'));
  const added = each.flatMap(({ added }) => added);
  if (lacking.length + limits.length > 0) return { verdict: 'refused', reasons: [...lacking, ...limits] };
  if (added.length > 0) return { verdict: options.allowAltered ? 'altered' : 'refused', reasons: added };
  return { verdict: 'identical', reasons: [] };
}

function onHost({ index, cpuid }: VcpuIdentity, host: HostCapabilities): { missing: Reason[]; added: Reason[] } {
  const place = { step: 'predicted', vcpu: index, nameOf: featureName };
  return {
    missing: shortfallReasons(shortfalls(cpuid, host), place),
    added: alterations(cpuid, withAdditions(cpuid, host.cpuidAdditions), place),
  };
}
