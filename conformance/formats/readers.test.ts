import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import t from 'tap';
import { InputError } from '../../corpora/errors.js';
import { JsonValue } from './json-reader.js';
import { escapeXml, parseXml, type XmlElement } from './xml-reader.js';

const RUNS = { seed: 1, numRuns: 300 };
const refuses = (parse: () => unknown): boolean => {
  try {
    parse();
    return false;
  } catch (error) {
    if (error instanceof InputError) return true;
    throw error;
  }
};

/** What a `JsonValue` holds, by its methods alone. */
function plain(value: JsonValue): unknown {
  if (value.isArray) return value.items().map(plain);
  if (value.isObject) return Object.fromEntries(value.keys().map((key) => [key, plain(value.get(key))]));
  return value.isNull ? null : value.isString ? value.string() : value.whole(Number.MAX_SAFE_INTEGER);
}

const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constant(null),
    fc.string({ unit: 'binary' }),
    fc.maxSafeNat(),
    tie('array'),
    tie('object'),
  ),
  array: fc.array(tie('value'), { maxLength: 4 }),
  object: fc.dictionary(
    fc.string().filter((key) => key !== '__proto__'),
    tie('value'),
    { maxKeys: 4, noNullPrototype: true },
  ),
})).value;

void t.test('JSON is read as JSON.parse reads it', async () => {
  fc.assert(
    fc.property(json, fc.constantFrom(0, 1), (value, indent) => {
      const text = JSON.stringify(value, null, indent);
      assert.deepEqual(plain(JsonValue.parse({ format: 'x', text })), JSON.parse(text));
    }),
    RUNS,
  );
});

void t.test('a damaged JSON text is refused where JSON.parse refuses it', async () => {
  const damage = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    cut: fc.integer({ min: 0, max: 2 }),
    put: fc.constantFrom('', '"', '{', ']', ',', '0', '\\', '\u0001', 'e', '.'),
  });
  fc.assert(
    fc.property(json, damage, (value, { at, cut, put }) => {
      const whole = JSON.stringify(value);
      const offset = Math.floor(at * whole.length);
      const text = whole.slice(0, offset) + put + whole.slice(offset + cut);
      const ours = refuses(() => JsonValue.parse({ format: 'x', text }));
      let theirs = false;
      try {
        JSON.parse(text);
      } catch {
        theirs = true;
      }
      // Beyond the standard we refuse a key that stands twice.
      assert.ok(
        ours === theirs || (ours && new Set(text.match(/"[^"]*":/g)).size < (text.match(/"[^"]*":/g) ?? []).length),
        text,
      );
    }),
    { ...RUNS, numRuns: 2000 },
  );
});

const name = fc.stringMatching(/^[a-z_][a-z0-9_.-]{0,6}$/);
const text = fc.string({ unit: fc.constantFrom('a', 'é', '<', '&', '>', "'", '"', ' ') }).map((one) => one.trim());
interface Tree {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly text: string;
  readonly children: readonly Tree[];
}
const treeOfDepth = (depth: number): fc.Arbitrary<Tree> =>
  fc.record(
    {
      name,
      attributes: fc.dictionary(name, text, { maxKeys: 3, noNullPrototype: true }),
      text,
      children: fc.array(
        depth ? treeOfDepth(depth - 1) : fc.constant({ name: 'leaf', attributes: {}, text: '', children: [] }),
        { maxLength: 3 },
      ),
    },
    { noNullPrototype: true },
  );
const tree = treeOfDepth(2);

const xml = ({ name, attributes, text, children }: Tree): string => {
  const written = Object.entries(attributes).map(([key, value]) => ` ${key}='${escapeXml(value)}'`);
  return `<${name}${written.join('')}>${escapeXml(text)}<!-- - -->${children.map(xml).join('')}</${name}>`;
};

const treeOf = (element: XmlElement, like: Tree): Tree => ({
  name: element.name,
  attributes: Object.fromEntries(Object.keys(like.attributes).map((key) => [key, element.required(key)])),
  text: element.text,
  children: element.children.map((child, i) => treeOf(child, like.children[i]!)),
});

void t.test('XML is read as it was written', async () => {
  fc.assert(
    fc.property(tree, (one) =>
      assert.deepEqual(treeOf(parseXml({ format: 'x', text: `<?xml version='1.0'?>\n${xml(one)}` }), one), one),
    ),
    { ...RUNS, numRuns: 100 },
  );
});

const xmllint = spawnSync('xmllint', ['--version']).status === 0;

void t.test(
  'a damaged XML text is refused where xmllint refuses it',
  { skip: !xmllint && 'xmllint (libxml2-utils) is not installed' },
  async () => {
    const damage = fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      cut: fc.integer({ min: 0, max: 2 }),
      put: fc.constantFrom('', '<', '>', '/', "'", '=', '&', 'x'),
    });
    fc.assert(
      fc.property(tree, damage, (one, { at, cut, put }) => {
        const whole = xml(one);
        const offset = Math.floor(at * whole.length);
        const text = whole.slice(0, offset) + put + whole.slice(offset + cut);
        const theirs = spawnSync('xmllint', ['--noout', '--nonet', '-'], { input: text }).status !== 0;
        assert.equal(
          refuses(() => parseXml({ format: 'x', text })),
          theirs,
          text,
        );
      }),
      { ...RUNS, numRuns: 150 },
    );
  },
);

void t.test('a document type is refused, so that no entity can be declared', async (t) => {
  t.throws(() => parseXml({ format: 'x', text: '<!DOCTYPE a [<!ENTITY b "c">]>\n<a>&b;</a>' }), {
    message: "x: line 1, column 2: expected a name, found '!DOCTYPE'",
  });
  t.throws(() => parseXml({ format: 'x', text: '<a>\n  &b;</a>' }), {
    message: "x: line 2, column 3: unknown entity '&b;'",
  });
});

void t.test('depth is bounded', async (t) => {
  t.throws(() => JsonValue.parse({ format: 'x', text: '['.repeat(100_000) }), /more than 64 levels deep/);
  t.throws(() => parseXml({ format: 'x', text: '<a>'.repeat(100_000) }), /more than 64 levels deep/);
});
