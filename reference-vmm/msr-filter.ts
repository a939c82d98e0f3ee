/** KVM_X86_SET_MSR_FILTER from the MSRs that a guest may reach: everything else is denied, whatever the kernel learns. */
import type { MsrFilter, MsrFilterRange } from './kvm/kvm.js';

/** Of `linux/kvm.h`: KVM_MSR_FILTER_MAX_BITMAP_SIZE in bits, KVM_MSR_FILTER_MAX_RANGES. */
const MAX_BITS = 0x600 * 8;
export const MAX_RANGES = 16;

/**
 * Denies all but `readable` and `writable`. Throws `RangeError` where they lie so far apart that KVM's ranges do not suffice. x2APIC
 * MSRs, 0x800 to 0x8ff, are never filtered by KVM.
 */
export function denyAllBut(readable: readonly number[], writable: readonly number[]): MsrFilter {
  const ranges = [...rangesOf(readable, 'read'), ...rangesOf(writable, 'write')];
  if (ranges.length > MAX_RANGES) throw new RangeError(`${ranges.length} MSR filter ranges, KVM takes ${MAX_RANGES}`);
  // Without any range KVM switches the filter off and refuses to deny by default.
  return { byDefault: 'deny', ranges: ranges.length > 0 ? ranges : [NOTHING] };
}

const NOTHING: MsrFilterRange = { base: 0, allowed: [false], access: 'read-write' };

/** Windows part at gaps of this size: between the blocks of the MSR space, not within them. */
const GAP = 0x800;

function rangesOf(indices: readonly number[], access: 'read' | 'write'): MsrFilterRange[] {
  const windows: number[][] = [];
  for (const index of [...indices].sort((a, b) => a - b)) {
    const window = windows.at(-1);
    if (window && index - window.at(-1)! < GAP && index - window[0]! < MAX_BITS) window.push(index);
    else windows.push([index]);
  }
  return windows.map((window) => {
    const base = window[0]!;
    const allowed = new Array<boolean>(window.at(-1)! - base + 1).fill(false);
    for (const index of window) allowed[index - base] = true;
    return { base, access, allowed };
  });
}
