/** Is a refusal the one that was predicted? A host that refuses for another reason was not understood, though the verdict is the same. */
import { REFUSED_OTHERWISE, type Reason, reason } from '../../corpora/verdict.js';
import type { Judgement } from './judge.js';
import type { Prediction } from './predict.js';

/** Where both are refusals and share no reason: the reason that says so. More may come than was predicted, such as MSRs of a feature that is missing. */
export function refusedOtherwise(
  { verdict, reasons }: Pick<Judgement, 'verdict' | 'reasons'>,
  prediction: Prediction,
): Reason[] {
  if (verdict !== 'refused' || prediction.verdict !== 'refused') return [];
  const predicted = new Set(prediction.reasons.map(placeOf));
  if (reasons.some((one) => predicted.has(placeOf(one)) || isQemusOwnWord(one, prediction))) return [];
  const message = `refused for another reason than was predicted: ${prediction.reasons[0]?.message}`;
  return [reason({ code: REFUSED_OTHERWISE, step: reasons[0]?.step ?? 'start', layer: 'harness', message })];
}

/** Whoever finds a field wanting, a prediction or a kernel, may call it otherwise; what has no field is known by its code. */
const placeOf = ({ code, leaf, subleaf, register, bit, msr }: Reason): string =>
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
const isQemusOwnWord = ({ code }: Reason, { reasons }: Prediction): boolean =>
  code === 'qemu-enforce' && reasons.some(({ leaf }) => leaf !== null);
