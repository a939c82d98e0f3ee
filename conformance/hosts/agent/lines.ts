/** Splits a byte stream into lines, with a bound on their length. */
import type { Readable } from 'node:stream';
import { MachineError } from '../../../corpora/errors.js';
import { MAX_LINE } from './protocol.js';

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
