/** Reads line formats: each line is taken piece by piece, and the piece that does not fit is named with its column. */
import { expected, malformed, type Source } from './place.js';

/** One line, read from the left. */
export class Line {
  readonly source: Source;
  /** Offset of the line in the whole text. */
  readonly start: number;
  /** Without its end and trailing blanks. */
  readonly text: string;
  #position = 0;

  constructor(source: Source, start: number, text: string) {
    this.source = source;
    this.start = start;
    this.text = text;
  }

  /** What a pattern matches here, as its first group, or the whole match; undefined where it does not match. */
  maybe(pattern: RegExp): string | undefined {
    const sticky = new RegExp(pattern.source, `${pattern.flags.replace('y', '')}y`);
    sticky.lastIndex = this.#position;
    const match = sticky.exec(this.text);
    if (!match) return undefined;
    this.#position = sticky.lastIndex;
    return match[1] ?? match[0];
  }

  /** As `maybe`, where the pattern must match. `what` says what is due: `a leaf such as 0x00000001`. */
  take(pattern: RegExp, what: string): string {
    const found = this.maybe(pattern);
    if (found === undefined) throw expected(this.source, this.start + this.#position, what);
    return found;
  }

  /** A hexadecimal number of at most `digits` digits. */
  hex(what: string, digits = 8): number {
    return Number.parseInt(this.take(new RegExp(`([0-9a-fA-F]{1,${digits}})(?!\\w)`), what), 16);
  }

  /** A decimal number of at most 32 bits. `pattern` has the digits as its first group. */
  decimal(pattern: RegExp, what: string): number {
    const before = this.#position;
    const value = Number(this.take(pattern, what));
    if (value > 0xffffffff) throw expected(this.source, this.start + before, `${what} of at most 32 bits`);
    return value;
  }

  /** Nothing more may follow. */
  end(): void {
    if (this.#position < this.text.length)
      throw expected(this.source, this.start + this.#position, 'the end of the line');
  }

  fail(message: string): Error {
    return malformed(this.source, this.start, message);
  }
}

/** The lines of a text that are not blank. */
export function* linesOf(source: Source): Generator<Line> {
  let start = 0;
  for (const raw of source.text.split('\n')) {
    const text = raw.trimEnd();
    if (text) yield new Line(source, start, text);
    start += raw.length + 1;
  }
}
