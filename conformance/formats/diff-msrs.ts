/** What differs between the MSRs of two CPUs. */
import { countBits, type Part, type Tally } from './diff-tally.js';
import { type DumpedMsr, SCANNED_MSRS, sameKind } from './dump.js';

/** An MSR that does not exist faults, and nobody says how. */
type MsrAnswer = DumpedMsr | { readonly fault: null } | 'open';

/** Compares one MSR that a side has. */
export function compareMsr(index: number, a: Part, b: Part, tally: Tally): void {
  const [one, two] = [msrOf(a, index, b), msrOf(b, index, a)];
  const cpu = a.cpu.index;
  if (one === 'open' || two === 'open') tally.open += saidOf(one === 'open' ? two : one);
  else if (mayFault(one) && mayFault(two) && 'mask' in one !== 'mask' in two) tally.open++;
  else if ('mask' in one && 'mask' in two) {
    const closed = a.dump.absent.msr === 'default' && b.dump.absent.msr === 'default';
    const bits = tally.bits({ msr: index }, one, two, closed);
    if (bits.length) tally.differs({ kind: 'msr', cpu, index, a: one.value, b: two.value, bits });
  } else if ('fault' in one && 'fault' in two && (one.fault === two.fault || one.fault === null || two.fault === null))
    tally.compared++;
  else tally.differs({ kind: 'msr', cpu, index, a: shown(one), b: shown(two), bits: [] });
}

/** An MSR whose value nobody fixes may as well fault. */
const mayFault = (msr: Exclude<MsrAnswer, 'open'>): boolean => 'fault' in msr || msr.mask === 0n;

const saidOf = (msr: MsrAnswer): number => (typeof msr === 'object' && 'mask' in msr ? countBits(msr.mask) : 1);

const shown = (msr: Exclude<MsrAnswer, 'open'>): bigint | string | null => ('fault' in msr ? msr.fault : msr.value);

function msrOf({ cpu, dump }: Part, index: number, other: Part): MsrAnswer {
  const msr = cpu.msrs.find((one) => one.index === index);
  if (msr) return msr;
  switch (dump.absent.msr) {
    case 'none':
      return { fault: null };
    case 'scanned':
      return SCANNED_MSRS.some(([first, last]) => first <= index && index <= last) ? { fault: null } : 'open';
    case 'listed':
      return sameKind(dump, other.dump) ? { fault: null } : 'open';
    case 'default':
      return { index, value: 0n, mask: 0n };
    case 'open':
      return 'open';
  }
}
