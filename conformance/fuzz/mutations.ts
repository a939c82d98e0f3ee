/** Arbitrary changes of streams and snapshots: of their bytes, and of their sections under checksums that hold. */
import fc from 'fast-check';
import type { Section } from '../../reference-vmm/snapshot/container.js';

/** A place in something of any length, 0 to 1; everywhere alike, where fast-check would mostly try the ends. */
const place = fc.noBias(fc.integer({ min: 0, max: 2 ** 31 - 1 })).map((number) => number / 2 ** 31);
const at = (where: number, length: number): number => Math.floor(where * length);

/** Each is made with what it changes. */
const BYTE_CHANGES = [
  fc.tuple(place, fc.integer({ min: 1, max: 255 })).map(([where, mask]) => (bytes: Buffer) => {
    const changed = Buffer.from(bytes);
    if (changed.length > 0) changed[at(where, changed.length)]! ^= mask;
    return changed;
  }),
  place.map((where) => (bytes: Buffer) => bytes.subarray(0, at(where, bytes.length))),
  fc.tuple(place, fc.uint8Array({ minLength: 1, maxLength: 40 })).map(
    ([where, more]) =>
      (bytes: Buffer) =>
        Buffer.concat([bytes.subarray(0, at(where, bytes.length)), more, bytes.subarray(at(where, bytes.length))]),
  ),
  fc.tuple(place, place).map(([from, to]) => (bytes: Buffer) => {
    const [start, end] = [at(from, bytes.length), at(to, bytes.length)].sort((a, b) => a - b) as [number, number];
    return Buffer.concat([bytes.subarray(0, end), bytes.subarray(start)]);
  }),
  // A length or a count: all ones, or one bit.
  fc.tuple(place, fc.constantFrom(4, 8), fc.option(fc.nat(63))).map(([where, width, bit]) => (bytes: Buffer) => {
    const changed = Buffer.from(bytes);
    if (changed.length < width) return changed;
    const start = at(where, changed.length - width);
    if (bit === null) changed.fill(0xff, start, start + width);
    else changed.fill(0, start, start + width);
    if (bit !== null && start + (bit >> 3) < changed.length) changed[start + (bit >> 3)] = 1 << (bit & 7);
    return changed;
  }),
] as const;

export const byteChanges: fc.Arbitrary<(bytes: Buffer) => Buffer> = fc
  .array(fc.oneof(...BYTE_CHANGES), { minLength: 1, maxLength: 4 })
  .map((changes) => (bytes) => changes.reduce((changed, change) => change(changed), bytes));

/** A value of the same form: it passes readers, and meets what is behind them. */
const alike = (value: unknown, number: bigint): unknown => {
  if (typeof value === 'number') return Number(number % 0x1_0000_0000n);
  if (typeof value !== 'string') return value;
  if (/^[0-9]+$/.test(value)) return `${number}`;
  if (/^0x/.test(value))
    return `0x${number
      .toString(16)
      .padStart(value.length - 2, '0')
      .slice(2 - value.length)}`;
  const changed = Buffer.from(value, 'base64');
  if (changed.length > 0) changed[Number(number % BigInt(changed.length))]! ^= 1 << Number(number >> 61n);
  return changed.toString('base64');
};

/** What `change` makes of a JSON value; what is no JSON stays. */
const inJson =
  (change: (root: unknown) => unknown) =>
  (payload: Buffer): Buffer => {
    try {
      return Buffer.from(JSON.stringify(change(JSON.parse(payload.toString('utf8')))));
    } catch {
      return payload;
    }
  };

/** Any value anywhere in a JSON text replaced by any other. */
const strangeValue = fc
  .tuple(place, fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.maxSafeInteger(), fc.constantFrom('', '0x')))
  .map(([where, value]) =>
    inJson((root) => {
      const spots = spotsOf(root);
      const { holder, key } = spots[at(where, spots.length)]!;
      holder[key] = value;
      return root;
    }),
  );

/** One that holds no others replaced by one of its form. */
const valueAlike = fc
  .tuple(place, fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.bigInt({ min: 0n, max: 2n ** 32n - 1n })))
  .map(([where, number]) =>
    inJson((root) => {
      const spots = spotsOf(root).filter(({ holder, key }) => !isObject(holder[key]));
      const { holder, key } = spots[at(where, spots.length)]!;
      holder[key] = alike(holder[key], number);
      return root;
    }),
  );

interface Spot {
  readonly holder: Record<string, unknown>;
  readonly key: string;
}
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
const spotsOf = (value: unknown): Spot[] =>
  isObject(value) ? Object.keys(value).flatMap((key) => [{ holder: value, key }, ...spotsOf(value[key])]) : [];

type SectionsChange = (all: readonly Section[]) => readonly Section[];

/** One section's payload changed. */
const within = (changes: fc.Arbitrary<(payload: Buffer) => Buffer>): fc.Arbitrary<SectionsChange> =>
  fc.tuple(place, changes).map(
    ([where, change]) =>
      (all) =>
        all.map((section, i) =>
          i === at(where, all.length) ? { ...section, payload: change(Buffer.from(section.payload)) } : section,
        ),
  );

const SECTION_CHANGES = [
  within(fc.oneof(byteChanges, strangeValue)),
  place.map((where) => (all: readonly Section[]) => all.filter((_, i) => i !== at(where, all.length))),
  place.map(
    (where) => (all: readonly Section[]) => all.flatMap((one, i) => (i === at(where, all.length) ? [one, one] : [one])),
  ),
  fc.tuple(place, fc.nat(40)).map(
    ([where, type]) =>
      (all: readonly Section[]) =>
        all.map((section, i) => (i === at(where, all.length) ? { ...section, type } : section)),
  ),
] as const;

/** Sections that are lost, doubled, of another type, or hold anything. */
export const sectionChanges: fc.Arbitrary<SectionsChange> = fc
  .array(fc.oneof({ weight: 5, arbitrary: SECTION_CHANGES[0] }, ...SECTION_CHANGES.slice(1)), {
    minLength: 1,
    maxLength: 3,
  })
  .map((changes) => (all) => changes.reduce((changed, change) => change(changed), all));

/** Another number, feature or register in a section that is well formed. */
export const valueChanges: fc.Arbitrary<SectionsChange> = within(valueAlike);
