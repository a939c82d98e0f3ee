/** What writes do to the MSRs of an identity, in the words of MSR contracts. */

import { hex64 } from '../../corpora/hex.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import type { MsrEffect } from '../../corpora/msr-contracts.js';
import { type Msr, msrsOf } from './msrs.js';

/** By index, write-only MSRs included; a write to any other faults. */
export function msrEffects(identity: Pick<CpuIdentity, 'vcpus' | 'features'>): readonly MsrEffect[] {
  const msrs = msrsOf(identity);
  const effects = known.get(msrs) ?? msrs.map((msr) => ({ index: msr.index, effect: effectOf(msr) }));
  known.set(msrs, effects);
  return effects;
}

/** By a CPU's MSRs, which are one list for all pairs that are alike. */
const known = new WeakMap<readonly Msr[], readonly MsrEffect[]>();

/** `keeps` the bits of a mask, `swallows` those of another, faults on all others; the whole must have the `form` (`VALUE_FORMS`). */
function effectOf({ definition: { access, form }, writable, ignored }: Msr): string {
  if (access === 'read') return 'faults';
  const masks = [writable && `keeps ${hex64(writable)}`, ignored && `swallows ${hex64(ignored)}`].filter(Boolean);
  return [...(masks.length > 0 ? masks : ['takes 0']), ...(form ? [`form ${form}`] : [])].join(', ');
}
