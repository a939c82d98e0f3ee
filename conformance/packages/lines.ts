/** Splits a byte stream into lines, bounded in length. */
import { StringDecoder } from 'node:string_decoder';

/** Longest line taken, in characters: a host capture has about 200,000. */
const LONGEST = 64 * 2 ** 20;

/** Calls `take` with each whole line of a stream, without its end (`\n` or `\r\n`). Destroys the stream where a line has no end. */
export function eachLine(
  stream: NodeJS.ReadableStream & { destroy?(error: Error): void },
  take: (line: string) => void,
): void {
  const decoder = new StringDecoder('utf8');
  let parts: string[] = [];
  let length = 0;
  stream.on('data', (chunk: Buffer) => {
    const lines = decoder.write(chunk).split('\n');
    for (const [i, part] of lines.entries()) {
      parts.push(part);
      length += part.length;
      if (i === lines.length - 1) break;
      const line = parts.join('');
      parts = [];
      length = 0;
      take(line.endsWith('\r') ? line.slice(0, -1) : line);
    }
    if (length > LONGEST) stream.destroy?.(new RangeError(`a line of more than ${LONGEST} characters`));
  });
}
