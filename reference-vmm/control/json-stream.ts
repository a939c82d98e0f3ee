/** Finds the JSON values in a stream of bytes: QMP separates its messages by nothing but their own ends. */

/** What came, whole; `text` is one JSON value, or what cannot begin one. */
export class JsonStream {
  readonly #limit: number;
  #text = '';
  /** Where to go on reading in `#text`. */
  #at = 0;
  #depth = 0;
  #inString = false;

  /** @param limit longest value in characters */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The values that are complete with `text`. Throws `RangeError` where one is longer than the limit. */
  push(text: string): string[] {
    this.#text += text;
    const values: string[] = [];
    for (;;) {
      const end = this.#nextEnd();
      if (end < 0) break;
      const value = this.#text.slice(0, end).trim();
      this.#text = this.#text.slice(end);
      this.#at = 0;
      if (value) values.push(value);
    }
    if (this.#text.length > this.#limit) throw new RangeError(`a message of more than ${this.#limit} characters`);
    return values;
  }

  /** Behind the last character of the first value: its closing bracket, or the end of a line outside all brackets; -1 where it goes on. */
  #nextEnd(): number {
    for (; this.#at < this.#text.length; this.#at++) {
      const character = this.#text[this.#at]!;
      if (this.#inString) {
        if (character === '\\') this.#at++;
        else if (character === '"') this.#inString = false;
      } else if (character === '"') this.#inString = true;
      else if (character === '{' || character === '[') this.#depth++;
      else if (character === '}' || character === ']') {
        this.#depth = Math.max(0, this.#depth - 1);
        if (this.#depth === 0) return this.#at + 1;
      } else if (character === '\n' && this.#depth === 0) return this.#at + 1;
    }
    return -1;
  }
}
