/** Is a refusal the one that was predicted? A host that refuses for another reason was not understood, though the verdict is the same. */
import { REFUSED_OTHERWISE, type Reason, reason } from '../../corpora/verdict.js';
import { hostOfStep } from '../scenarios/host-of-step.js';
import type { Judgement } from './judge.js';
import type { Prediction } from './predict.js';

/**
 * Where both are refusals, and the host that refused shares no reason with what was predicted of it: the reason that says so. More may come than was
 * predicted, such as MSRs of a feature that is missing.
 */
export function refusedOtherwise(
  { verdict, reasons }: Pick<Judgement, 'verdict' | 'reasons'>,
  prediction: Prediction,
): Reason[] {
  if (verdict !== 'refused' || prediction.verdict !== 'refused') return [];
  const step = reasons[0]?.step ?? 'start';
  const { refusals } = prediction;
  const there = refusals[hostOfStep(step, refusals.length)] ?? [];
  const predicted = new Set(there.map(wantingIn));
  if (reasons.some((one) => predicted.has(wantingIn(one)) || isQemusOwnWord(one, there))) return [];
  const message = there[0]
    ? `refused for another reason than was predicted: ${there[0].message}`
    : `refused by a host that was to take the guest; another was to refuse it: ${prediction.reasons[0]?.message}`;
  return [reason({ code: REFUSED_OTHERWISE, step, layer: 'harness', message })];
}

/** Whoever finds a field wanting, a prediction or a kernel, may call it otherwise; what has no field is known by its code. */
const wantingIn = ({ code, leaf, subleaf, register, bit, msr }: Reason): string =>
  JSON.stringify(
    msr !== null
      ? [msr]
      : leaf !== null
        ? [leaf, subleaf, register, bit]
        : [UNKNOWN_NAMES.has(code) ? 'unknown-name' : code],
  );

/** Where a release lacks several names it tells the first that it meets. */
const UNKNOWN_NAMES: ReadonlySet<string> = new Set(['qemu-machine-type', 'qemu-cpu-model', 'qemu-property']);

/** QEMU names features in its own words where `enforce` ends it; what it was to lack was predicted by the CPU's fields. */
const isQemusOwnWord = ({ code }: Reason, predicted: readonly Reason[]): boolean =>
  code === 'qemu-enforce' && predicted.some(({ leaf }) => leaf !== null);
