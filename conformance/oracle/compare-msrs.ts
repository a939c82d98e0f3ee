/** MSRs and control registers of a dump against what they must be. */
import { CpuFacts } from '../../corpora/cpu-facts.js';
import { CpuidTable } from '../../corpora/cpuid.js';
import { hex32, hex64 } from '../../corpora/hex.js';
import type { FaultClass, ObservedMsr, VcpuObservation } from '../../corpora/observation.js';
import type { Reason } from '../../corpora/verdict.js';
import { hostRegisterBits, msrClass } from '../../corpora/volatility/volatility.js';
import type { CompareContext, DifferenceFacts, ExpectedVcpu, Say } from './context.js';

const outcomeOf = (msr: ObservedMsr): bigint | FaultClass => ('fault' in msr ? msr.fault : msr.value);
const outcomeText = (outcome: bigint | FaultClass): string => (typeof outcome === 'bigint' ? hex64(outcome) : outcome);

/** All differences of the MSRs that were read, and all that should have been. */
export function compareMsrs(
  expected: ExpectedVcpu,
  seen: VcpuObservation,
  context: CompareContext,
  say: Say,
): Reason[] {
  const wanted = new Map(expected.msrs.map((msr) => [msr.index, outcomeOf(msr)]));
  const read = new Set(seen.msrs.map(({ index }) => index));
  return [
    ...seen.msrs.flatMap((msr) => {
      const got = outcomeOf(msr);
      const want = wanted.get(msr.index);
      if (want === undefined && expected.otherMsrs === 'not-compared') return [];
      return isSameOutcome(msr.index, want ?? '#GP', got, context)
        ? []
        : [say(msrChanged(msr.index, want ?? '#GP', got))];
    }),
    ...expected.msrs
      .filter(({ index }) => !read.has(index))
      .map(({ index }) => {
        const message = `MSR ${hex32(index)} stands in the contract and the guest never read it`;
        return say({ code: 'msr-not-observed', msr: hex32(index), message });
      }),
  ];
}

/** A deadline that was armed stands still until it fires; no probe's fires. */
const IA32_TSC_DEADLINE = 0x6e0;

/** Values of time and host MSRs may differ; whether they can be read may not. */
function isSameOutcome(
  index: number,
  want: bigint | FaultClass,
  got: bigint | FaultClass,
  { volatility }: CompareContext,
): boolean {
  if (want === got) return true;
  if (index === IA32_TSC_DEADLINE) return false;
  const kind = msrClass(volatility, index);
  return typeof want === 'bigint' && typeof got === 'bigint' && (kind === 'time' || kind === 'host');
}

function msrChanged(index: number, want: bigint | FaultClass, got: bigint | FaultClass): DifferenceFacts {
  const [contract, guest] = [outcomeText(want), outcomeText(got)];
  const message = `MSR ${hex32(index)}: contract ${contract}, guest ${guest}`;
  return { code: 'msr-changed', msr: hex32(index), contract, guest, message };
}

const IA32_EFER = 0xc0000080;
const IA32_APIC_BASE = 0x1b;
const IA32_XSS = 0xda0;

/** Registers are the guest's own: what it found or set must persist, but for the bits that volatility gives to the host. */
export function compareRegisters(
  before: VcpuObservation,
  after: VcpuObservation,
  { volatility }: CompareContext,
  say: Say,
): Reason[] {
  const cpu = new CpuFacts(new CpuidTable(before.cpuid), []);
  const own = (dump: VcpuObservation, name: 'cr0' | 'cr4'): string =>
    hex32((dump[name] & ~hostRegisterBits(volatility, name, cpu)) >>> 0);
  const plain = [
    ...(['cr0', 'cr4'] as const).map((name) => [name, own(before, name), own(after, name)] as const),
    ['xcr0', ...[before, after].map(({ xcr0 }) => (xcr0 === null ? 'unread' : outcomeText(xcr0)))] as const,
  ];
  const msrs = [
    [IA32_EFER, before.efer, after.efer],
    [IA32_APIC_BASE, before.apicBase, after.apicBase],
    [IA32_XSS, before.xss, after.xss],
  ] as const;
  return [
    ...plain
      .filter(([, was, is]) => was !== is)
      .map(([name, was, is]) => {
        const message = `${name!.toUpperCase()}: was ${was}, is ${is}`;
        return say({ code: 'register-changed', contract: was!, guest: is!, message });
      }),
    ...msrs.filter(([, was, is]) => was !== is).map(([index, was, is]) => say(msrChanged(index, was, is))),
  ];
}

/** Ten minutes at 5 GHz: no scenario takes longer between two dumps. */
const MOST_TIME = 3_000_000_000_000n;

/** Time MSRs never run backwards within one boot, and never leap. */
export function timeGoesOn(
  before: VcpuObservation,
  after: VcpuObservation,
  { volatility }: CompareContext,
  say: Say,
): Reason[] {
  const earlier = new Map(before.msrs.map((msr) => [msr.index, outcomeOf(msr)]));
  return after.msrs.flatMap((msr) => {
    const [was, is] = [earlier.get(msr.index), outcomeOf(msr)];
    if (typeof was !== 'bigint' || typeof is !== 'bigint' || msrClass(volatility, msr.index) !== 'time') return [];
    if (is >= was && is - was <= MOST_TIME) return [];
    const facts = msrChanged(msr.index, was, is);
    return [say({ ...facts, code: 'time-not-kept', message: `MSR ${hex32(msr.index)} ran from ${was} to ${is}` })];
  });
}
