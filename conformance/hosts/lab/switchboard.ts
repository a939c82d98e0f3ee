/**
 * The switchboard's lines: many conversations over the one stream between a runner and a lab host. A line is
 * `<number> <payload>`: the payload of an agent is a line of its protocol, of a socket bytes in base64; or it is
 * `<number> !<control>`: control words open and end conversations.
 */

/** What a conversation is with: a new agent process, or a unix socket on the host that is connected to or listened on. */
export type Opening = { readonly kind: 'agent' } | { readonly kind: 'connect' | 'listen'; readonly socket: string };

export type SwitchboardLine =
  | { readonly number: number; readonly data: string }
  | { readonly number: number; readonly open: Opening }
  /** The side that reads sees its end; `words` are the last that an agent wrote on stderr. */
  | { readonly number: number; readonly end: { readonly words: string } };

/** The host's first line: it is up, and this is its `uname -r`. */
export interface SwitchboardHello {
  readonly switchboard: 1;
  readonly release: string;
}

export function formatLine(line: SwitchboardLine): string {
  if ('data' in line) return `${line.number} ${line.data}\n`;
  const control = 'open' in line ? { open: line.open } : { end: line.end };
  return `${line.number} !${JSON.stringify(control)}\n`;
}

/** Throws `SyntaxError` on what `formatLine` does not write. */
export function parseLine(text: string): SwitchboardLine {
  const space = text.indexOf(' ');
  const number = Number(text.slice(0, space));
  if (space < 1 || !Number.isSafeInteger(number))
    throw new SyntaxError(`not a line of a switchboard: ${text.slice(0, 100)}`);
  if (text[space + 1] !== '!') return { number, data: text.slice(space + 1) };
  return { number, ...(JSON.parse(text.slice(space + 2)) as { open: Opening } | { end: { words: string } }) };
}
