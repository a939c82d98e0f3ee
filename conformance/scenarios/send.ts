/** One guest goes to another host: what the source says, and where it only saw its link end, what the destination says. */
import { GuestAbiError } from '../../corpora/errors.js';
import { outcomeText } from '../hosts/agent/outcome-text.js';
import type { Params, Result } from '../hosts/agent/protocol.js';
import type { AgentSession } from '../hosts/host.js';

/** Milliseconds for a destination to say why it gave up. It knows already: its end of the link is closed. A QEMU's has its own deadline. */
const WORD_MS = 5000;

/** The answer of the source to `send`. Throws its error, with the destination's word behind it. */
export async function sendTo(
  destination: AgentSession,
  source: AgentSession,
  how: Params<'send'>,
): Promise<Result<'send'>> {
  try {
    return await source.agent.call('send', how);
  } catch (error) {
    if (!(error instanceof GuestAbiError)) throw error;
    const word = await destination.agent.call('received', { gaveUp: true }, WORD_MS).then(
      (outcome) => outcomeText(outcome),
      (other: unknown) => (other as Error).message,
    );
    error.message += `; the destination: ${word}`;
    throw error;
  }
}
