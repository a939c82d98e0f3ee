/** The wire of the agent protocol: lines of JSON, bounded. */
import type { Readable } from 'node:stream';
import { MachineError } from '../../../corpora/errors.js';

/** The protocol's version; both sides must have the same. */
export const AGENT_SCHEMA = 'guest-abi/agent/1';

/** Longest line either side accepts, in characters: a snapshot of a small guest in base64 fits. */
export const MAX_LINE = 64 * 1024 * 1024;

/** Yields each line without its end. Throws `MachineError` on a line longer than `MAX_LINE`; a last line without an end is dropped. */
export async function* linesOf(input: Readable): AsyncGenerator<string> {
  let parts: string[] = [];
  let length = 0;
  input.setEncoding('utf8');
  for await (const chunk of input as AsyncIterable<string>) {
    let start = 0;
    for (let end = chunk.indexOf('\n'); end !== -1; end = chunk.indexOf('\n', start)) {
      parts.push(chunk.slice(start, end));
      yield parts.join('').replace(/\r$/, '');
      parts = [];
      length = 0;
      start = end + 1;
    }
    parts.push(chunk.slice(start));
    length += chunk.length - start;
    if (length > MAX_LINE)
      throw new MachineError('agent-line-too-long', `agent sent a line of over ${MAX_LINE} characters`);
  }
}
