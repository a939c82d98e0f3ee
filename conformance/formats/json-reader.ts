/** Reads JSON with the place of every value, so that what is wrong in it can be named with line and column. */
import { expected, malformed, type Source } from './place.js';

type Plain = string | number | boolean | null;

interface Node {
  readonly at: number;
  readonly value: Plain | readonly Node[] | ReadonlyMap<string, Node>;
}

const DEEPEST = 64;

/** A value of a JSON text; its methods say what it must be and throw `malformed-input` where it is not. */
export class JsonValue {
  readonly #source: Source;
  readonly #node: Node;

  constructor(source: Source, node: Node) {
    this.#source = source;
    this.#node = node;
  }

  /** Throws `malformed-input` where the text is not JSON, has a key twice in one object, or is deeper than 64 levels. */
  static parse(source: Source): JsonValue {
    const scanner = new Scanner(source);
    return new JsonValue(source, scanner.document());
  }

  /** As `parse`, for several documents one after the other (QMP answers). */
  static parseAll(source: Source): JsonValue[] {
    const scanner = new Scanner(source);
    const nodes = [scanner.value(0)];
    while (!scanner.atEnd()) nodes.push(scanner.value(0));
    return nodes.map((node) => new JsonValue(source, node));
  }

  fail(message: string): Error {
    return malformed(this.#source, this.#node.at, message);
  }

  get isObject(): boolean {
    return this.#node.value instanceof Map;
  }

  get isArray(): boolean {
    return Array.isArray(this.#node.value);
  }

  get isNull(): boolean {
    return this.#node.value === null;
  }

  get isString(): boolean {
    return typeof this.#node.value === 'string';
  }

  items(): JsonValue[] {
    if (!Array.isArray(this.#node.value)) throw this.fail('expected an array');
    return (this.#node.value as readonly Node[]).map((node) => new JsonValue(this.#source, node));
  }

  keys(): string[] {
    return [...this.#map().keys()];
  }

  /** The value of a key that must be there. */
  get(key: string): JsonValue {
    return this.maybe(key) ?? this.#missing(key);
  }

  maybe(key: string): JsonValue | undefined {
    const node = this.#map().get(key);
    return node && new JsonValue(this.#source, node);
  }

  /** Refuses keys other than these. */
  only(...allowed: readonly string[]): void {
    for (const [key, node] of this.#map())
      if (!allowed.includes(key))
        throw malformed(this.#source, node.at, `unknown key "${key}"; known: ${allowed.join(', ')}`);
  }

  string(): string {
    if (typeof this.#node.value !== 'string') throw this.fail('expected a string');
    return this.#node.value;
  }

  /** A string of one of these values. */
  oneOf<T extends string>(values: readonly T[]): T {
    const given = this.string();
    const found = values.find((value) => value === given);
    if (found === undefined) throw this.fail(`expected one of ${values.join(', ')}`);
    return found;
  }

  /** A whole number from 0 to `largest`. */
  whole(largest: number): number {
    const { value } = this.#node;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > largest)
      throw this.fail(`expected a whole number from 0 to ${largest}`);
    return value;
  }

  /** A string with `0x` and at most `bits / 4` hex digits. */
  hex(bits: 32 | 64): bigint {
    const given = this.string();
    if (!new RegExp(`^0x[0-9a-fA-F]{1,${bits / 4}}$`).test(given))
      throw this.fail(`expected a ${bits}-bit hex string such as "0x1f"`);
    return BigInt(given);
  }

  hex32(): number {
    return Number(this.hex(32));
  }

  #map(): ReadonlyMap<string, Node> {
    if (!(this.#node.value instanceof Map)) throw this.fail('expected an object');
    return this.#node.value as ReadonlyMap<string, Node>;
  }

  #missing(key: string): never {
    throw this.fail(`the key "${key}" is missing`);
  }
}

const LITERALS: ReadonlyMap<string, Plain> = new Map<string, Plain>([
  ['true', true],
  ['false', false],
  ['null', null],
]);

class Scanner {
  readonly #source: Source;
  #at = 0;

  constructor(source: Source) {
    this.#source = source;
    if (source.text.startsWith('\ufeff')) this.#at = 1;
  }

  document(): Node {
    const node = this.value(0);
    if (!this.atEnd()) throw expected(this.#source, this.#at, 'the end of the file');
    return node;
  }

  atEnd(): boolean {
    this.#skipBlanks();
    return this.#at >= this.#source.text.length;
  }

  value(depth: number): Node {
    this.#skipBlanks();
    const at = this.#at;
    if (depth > DEEPEST) throw malformed(this.#source, at, `more than ${DEEPEST} levels deep`);
    const first = this.#source.text[at];
    if (first === '{') return { at, value: this.#object(depth) };
    if (first === '[') return { at, value: this.#array(depth) };
    if (first === '"') return { at, value: this.#string() };
    return { at, value: this.#literal() };
  }

  #object(depth: number): Map<string, Node> {
    const entries = new Map<string, Node>();
    this.#each('}', () => {
      this.#skipBlanks();
      const at = this.#at;
      if (this.#source.text[at] !== '"') throw expected(this.#source, at, 'a key in quotes');
      const key = this.#string();
      if (entries.has(key)) throw malformed(this.#source, at, `the key "${key}" stands twice`);
      this.#skipBlanks();
      this.#take(':');
      entries.set(key, this.value(depth + 1));
    });
    return entries;
  }

  #array(depth: number): Node[] {
    const items: Node[] = [];
    this.#each(']', () => void items.push(this.value(depth + 1)));
    return items;
  }

  /** Items between the bracket that stands here and `close`. */
  #each(close: '}' | ']', item: () => void): void {
    this.#at++;
    this.#skipBlanks();
    if (this.#source.text[this.#at] === close) {
      this.#at++;
      return;
    }
    for (;;) {
      item();
      this.#skipBlanks();
      if (this.#source.text[this.#at] === close) break;
      if (this.#source.text[this.#at] !== ',') throw expected(this.#source, this.#at, `',' or '${close}'`);
      this.#at++;
    }
    this.#at++;
  }

  #string(): string {
    const at = this.#at;
    const raw = this.#match(/"[^"\\\n]*(?:\\.[^"\\\n]*)*"/y);
    if (raw === undefined) throw malformed(this.#source, at, 'a string that does not end');
    try {
      return JSON.parse(raw) as string;
    } catch {
      throw malformed(this.#source, at, 'a string with a bad escape or a control character');
    }
  }

  #literal(): Plain {
    const start = this.#at;
    const word = this.#match(/[a-z]+(?![\w])/y);
    if (word !== undefined && LITERALS.has(word)) return LITERALS.get(word)!;
    this.#at = start;
    const number = this.#match(/-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])/y);
    if (number === undefined) throw expected(this.#source, start, 'a JSON value');
    return Number(number);
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source.text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #take(character: string): void {
    if (this.#source.text[this.#at] !== character) throw expected(this.#source, this.#at, `'${character}'`);
    this.#at++;
  }

  #skipBlanks(): void {
    this.#match(/[ \t\r\n]+/y);
  }
}
