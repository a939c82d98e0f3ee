/** Plays every mutant beside its twin, and says which the suite catches. */
import { GuestAbiError } from '../../corpora/errors.js';
import type { Mutant, Regression } from '../../corpora/regressions.js';
import type { Reason } from '../../corpora/verdict.js';
import { isNamed } from './named.js';
import { type Found, playIn } from './world.js';

/** One mutant, played. */
export interface MutantEnd {
  /** Of the regression. */
  readonly id: string;
  readonly title: string;
  /** Which of its mutants, from 1. */
  readonly number: number;
  readonly kind: Mutant['kind'];
  readonly host: string;
  readonly life: string;
  /**
   * `caught`: the verdict is another than the twin's, and every place of the oracle is named. `unplayed`: this machine cannot.
   * `twin`: it is the twin that broke, so that nothing follows.
   */
  readonly end: 'caught' | 'SURVIVED' | 'twin' | 'unplayed';
  readonly twin: string | null;
  readonly verdict: string | null;
  /** What was found, the oracle's places first; why it was not played; what was not named. */
  readonly finding: string;
}

/** A verdict that holds: what twins must have. On a host whose kernel alters CPUID none is `identical`. */
const holds = ({ verdict }: Found): boolean => verdict === 'identical' || verdict === 'altered';

/** Twins by what they depend on: many mutants have one. */
const twins = new Map<string, Promise<Found>>();

function twinOf(mutant: Mutant, pair: string): Promise<Found> {
  const { host = null, life = 'boot', smp = '1', at = null } = mutant;
  const key = JSON.stringify([pair, host, life, smp, at]);
  const twin = twins.get(key) ?? playIn(mutant, pair, false);
  twins.set(key, twin);
  return twin;
}

/** Plays all mutants of some regressions, one after the other. */
export async function* playMutants(cases: readonly Regression[]): AsyncGenerator<MutantEnd> {
  for (const one of cases) for (const [i, mutant] of one.mutants.entries()) yield await play(one, mutant, i + 1);
}

async function play(one: Regression, mutant: Mutant, number: number): Promise<MutantEnd> {
  const { id, title } = one;
  const { oracle = one.oracle } = mutant;
  const base = { id, title, number, kind: mutant.kind, host: mutant.host ?? 'recorded', life: mutant.life ?? 'boot' };
  try {
    for (const pair of mutant.pairs) {
      const twin = await twinOf(mutant, pair);
      if (!holds(twin)) return { ...base, end: 'twin', ...verdicts(twin, null), finding: told(pair, twin) };
      const found = await playIn(mutant, pair, true);
      const faults = misnamed(oracle, mutant, found);
      const caught = found.verdict !== twin.verdict && faults.length === 0;
      const finding = caught ? told(pair, found, oracle) : [told(pair, found), ...faults].join('; ');
      const last = pair === mutant.pairs.at(-1);
      if (!caught || last) return { ...base, end: caught ? 'caught' : 'SURVIVED', ...verdicts(twin, found), finding };
    }
    throw new RangeError(`${id} has a mutant without pairs`);
  } catch (error) {
    if (!(error instanceof GuestAbiError && error.code === 'kvm-absent')) throw error;
    return { ...base, end: 'unplayed', twin: null, verdict: null, finding: error.message };
  }
}

/** Places that are not named, on each vCPU that is wrong; and vCPUs that are named and are not. */
export function misnamed(oracle: readonly string[], { vcpus }: Mutant, { reasons }: Pick<Found, 'reasons'>): string[] {
  const lacking = (among: readonly Reason[], where: string): string[] => {
    const unnamed = oracle.filter((place) => !isNamed(place, among));
    return unnamed.length > 0 ? [`not named: ${unnamed.join(', ')}${where}`] : [];
  };
  if (!vcpus) return lacking(reasons, '');
  const others = new Set(reasons.map(({ vcpu }) => vcpu).filter((vcpu) => vcpu === null || !vcpus.includes(vcpu)));
  return [
    ...vcpus.flatMap((vcpu) =>
      lacking(
        reasons.filter((reason) => reason.vcpu === vcpu),
        ` on vCPU ${vcpu}`,
      ),
    ),
    ...[...others].map((vcpu) => `named though it is right: ${vcpu === null ? 'the guest' : `vCPU ${vcpu}`}`),
  ];
}

const verdicts = (twin: Found, found: Found | null): Pick<MutantEnd, 'twin' | 'verdict'> => ({
  twin: twin.verdict,
  verdict: found?.verdict ?? null,
});

/** `pc-1.0/Nehalem: changed: CPUID 1.EAX: ...`, the first reason that names the oracle's first place. */
function told(pair: string, { verdict, reasons }: Found, [place]: readonly string[] = []): string {
  const first = (place && reasons.find((reason) => isNamed(place, [reason]))) || reasons[0];
  return `${pair}: ${verdict}${first ? `: ${first.message}` : ''}`;
}

/** Counts of ends. */
export const countOf = (ends: readonly MutantEnd[], end: MutantEnd['end']): number =>
  ends.filter((one) => one.end === end).length;
