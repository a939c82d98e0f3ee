/** An outcome in words, for errors of those who expected another. */
import type { Outcome } from './protocol.js';

/** `refused: LAHF_LM is not offered; ...`, `crashed: the guest ...`, `running`. */
export function outcomeText(outcome: Pick<Outcome, 'kind'>): string {
  const { kind, reasons, message } = outcome as { kind: string; reasons?: { message: string }[]; message?: string };
  const why = message ?? reasons?.map((one) => one.message).join('; ');
  return why === undefined ? kind : `${kind}: ${why}`;
}
