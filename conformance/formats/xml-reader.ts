/** Reads the XML that libvirt writes, with the place of every element and attribute; no DTD, no namespaces, no entities but XML's own five. */
import { expected, malformed, type Source } from './place.js';

interface Attribute {
  readonly at: number;
  readonly value: string;
}

/** An element; its methods say what it must have and throw `malformed-input` where it has not. */
export class XmlElement {
  readonly name: string;
  readonly children: XmlElement[] = [];
  /** The text directly in it, without the blanks around. */
  text = '';
  readonly #source: Source;
  readonly #at: number;
  readonly #attributes: ReadonlyMap<string, Attribute>;

  constructor(source: Source, at: number, name: string, attributes: ReadonlyMap<string, Attribute>) {
    this.#source = source;
    this.#at = at;
    this.name = name;
    this.#attributes = attributes;
  }

  fail(message: string): Error {
    return malformed(this.#source, this.#at, message);
  }

  /** The first child of this name. */
  child(name: string): XmlElement | undefined {
    return this.children.find((child) => child.name === name);
  }

  attribute(name: string): string | undefined {
    return this.#attributes.get(name)?.value;
  }

  attributeNames(): string[] {
    return [...this.#attributes.keys()];
  }

  required(name: string): string {
    const value = this.attribute(name);
    if (value === undefined) throw this.fail(`<${this.name}> has no attribute ${name}`);
    return value;
  }

  /** An attribute that must be one of these values. */
  oneOf<T extends string>(name: string, values: readonly T[]): T {
    const given = this.required(name);
    const found = values.find((value) => value === given);
    if (found === undefined) throw this.#failAttribute(name, `expected one of ${values.join(', ')}`);
    return found;
  }

  /** A 32-bit number with `0x`, as libvirt writes registers; `fallback` where the attribute is not there. */
  hex32(name: string, fallback?: number): number {
    const given = this.attribute(name);
    if (given === undefined && fallback !== undefined) return fallback;
    if (!/^0x[0-9a-fA-F]{1,8}$/.test(given ?? this.required(name)))
      throw this.#failAttribute(name, 'expected 0x and at most 8 hex digits');
    return Number.parseInt(given!, 16);
  }

  #failAttribute(name: string, message: string): Error {
    return malformed(this.#source, this.#attributes.get(name)!.at, `${name} of <${this.name}>: ${message}`);
  }
}

const NAME = /[A-Za-z_][\w.:-]*/y;
const COMMENT = /<!--(?:(?!--)[\s\S])*-->/y;
const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };
const DEEPEST = 64;

/** The root element. Throws `malformed-input` where the text is not XML, or has a DTD. */
export const parseXml = (source: Source): XmlElement => new Reader(source).document();

/** Text as it stands between tags or in an attribute in single quotes. */
export const escapeXml = (text: string): string =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll("'", '&apos;')
    .replaceAll('"', '&quot;');

class Reader {
  readonly #source: Source;
  #at = 0;

  constructor(source: Source) {
    this.#source = source;
  }

  document(): XmlElement {
    this.#match(/\ufeff?(?:<\?xml [^>]*\?>)?/y);
    this.#skipMisc();
    const root = this.#element(0);
    this.#skipMisc();
    if (this.#at < this.#source.text.length) throw expected(this.#source, this.#at, 'the end of the file');
    return root;
  }

  /** Blanks, comments and processing instructions. */
  #skipMisc(): void {
    for (;;) {
      this.#match(/\s+/y);
      if (this.#match(COMMENT) === undefined && this.#match(/<\?[^>]*\?>/y) === undefined) return;
    }
  }

  #element(depth: number): XmlElement {
    const start = this.#at;
    if (depth > DEEPEST) throw malformed(this.#source, start, `more than ${DEEPEST} levels deep`);
    if (this.#match(/</y) === undefined) throw expected(this.#source, start, 'an element');
    const name = this.#name('a name');
    const element = new XmlElement(this.#source, start, name, this.#attributes(name));
    if (this.#match(/\/>/y) !== undefined) return element;
    if (this.#match(/>/y) === undefined)
      throw expected(this.#source, this.#at, `'>', '/>' or an attribute of <${name}>`);
    this.#content(element, depth);
    return element;
  }

  #attributes(element: string): Map<string, Attribute> {
    const attributes = new Map<string, Attribute>();
    while (this.#match(/\s+(?=[^\s/>])/y) !== undefined) {
      const at = this.#at;
      const name = this.#name(`an attribute of <${element}>`);
      if (attributes.has(name)) throw malformed(this.#source, at, `attribute ${name} of <${element}> stands twice`);
      if (this.#match(/\s*=\s*/y) === undefined) throw expected(this.#source, this.#at, "'='");
      const valueAt = this.#at;
      const quoted = this.#match(/"[^"<]*"|'[^'<]*'/y);
      if (quoted === undefined) throw expected(this.#source, valueAt, 'a value in quotes');
      attributes.set(name, { at: valueAt + 1, value: this.#unescape(quoted.slice(1, -1), valueAt + 1) });
    }
    this.#match(/\s+/y);
    return attributes;
  }

  #content(element: XmlElement, depth: number): void {
    let text = '';
    for (;;) {
      const at = this.#at;
      const piece = this.#match(/[^<]+/y);
      if (piece !== undefined) {
        text += this.#unescape(piece, at);
        continue;
      }
      const cdata = this.#match(/<!\[CDATA\[[\s\S]*?\]\]>/y);
      if (cdata !== undefined) text += cdata.slice(9, -3);
      else if (this.#match(COMMENT) === undefined && this.#match(/<\?[^>]*\?>/y) === undefined) {
        if (this.#match(/<\//y) !== undefined) break;
        if (at >= this.#source.text.length) throw malformed(this.#source, at, `<${element.name}> does not end`);
        element.children.push(this.#element(depth + 1));
      }
    }
    const at = this.#at;
    const name = this.#name(`</${element.name}>`);
    if (name !== element.name) throw malformed(this.#source, at, `</${name}> ends <${element.name}>`);
    if (this.#match(/\s*>/y) === undefined) throw expected(this.#source, this.#at, "'>'");
    element.text = text.trim();
  }

  #unescape(text: string, at: number): string {
    return text.replaceAll(/&([^;\s]*;?)/g, (_, entity: string, offset: number) => {
      const [, code] = /^#(x[0-9a-fA-F]{1,6}|\d{1,7});$/.exec(entity) ?? [];
      const point = code === undefined ? Number.NaN : Number(code.replace(/^x/, '0x'));
      const known = point > 0 && point <= 0x10ffff ? String.fromCodePoint(point) : ENTITIES[entity.replace(/;$/, '')];
      if (known === undefined || !entity.endsWith(';'))
        throw malformed(this.#source, at + offset, `unknown entity '&${entity}'`);
      return known;
    });
  }

  #name(what: string): string {
    const at = this.#at;
    const name = this.#match(NAME);
    if (name === undefined) throw expected(this.#source, at, what);
    return name;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source.text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }
}
