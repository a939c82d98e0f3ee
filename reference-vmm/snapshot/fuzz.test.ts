/**
 * Snapshot files that somebody else wrote: bytes changed at random, and values changed with every checksum made right again. Each is restored or refused
 * clearly, and nothing is taken on its word. GUEST_ABI_FUZZ_RUNS asks for more than the usual few.
 */
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { GuestAbiError } from '../../corpora/errors.js';
import { flatMachine, needsKvm, noNames } from '../fixtures.js';
import { openKvm } from '../kvm/system.js';
import { decodeContainer, encodeContainer, type Section } from './container.js';
import { writeSnapshot } from './file.js';
import { SECTION } from './machine-state.js';
import { restoreSnapshot } from './restore.js';

const RUNS = Number(process.env.GUEST_ABI_FUZZ_RUNS ?? 150);
const MEMORY = 0x20_1000;
/** Most that a refusal may take, resident, of a file that claims anything. */
const MEMORY_SLACK = 200 * 1024 * 1024;

const folder = mkdtempSync(join(tmpdir(), 'guest-abi-fuzz-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'guest.snapshot');

/** Restores the file, and says how that ended: never with an error that is not ours. */
function restoreOf(kvm: ReturnType<typeof openKvm>, lazy: boolean): string {
  try {
    const made = restoreSnapshot(kvm, file, { nameOf: noNames, forceFeatures: true, allowAltered: true, lazy });
    if (made.kind === 'created') made.machine[Symbol.dispose]();
    return made.kind;
  } catch (error) {
    if (error instanceof GuestAbiError && error.message.length < 2000 && !error.message.includes('\n'))
      return error.code;
    throw error;
  }
}

void t.test('any bytes changed, and any cut', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, [0xf4], { memoryBytes: MEMORY });
  writeSnapshot(file, source.saveState());
  const whole = readFileSync(file);
  const ends = new Map<string, number>();
  const change = fc.record({ at: fc.nat(whole.length - 8), bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }) });
  const early = fc.record({ at: fc.nat(64), bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }) });
  fc.assert(
    fc.property(
      fc.array(fc.oneof(change, early), { maxLength: 3 }),
      fc.option(fc.nat(whole.length)),
      fc.boolean(),
      (changes, cut, lazy) => {
        const fd = openSync(file, 'r+');
        try {
          for (const { at, bytes } of changes) writeSync(fd, bytes, 0, bytes.length, at);
          if (cut !== null) truncateSync(file, cut);
          const before = process.memoryUsage.rss();
          const end = restoreOf(kvm, lazy);
          if (process.memoryUsage.rss() - before > MEMORY_SLACK) throw new Error('it took its memory first');
          ends.set(end, (ends.get(end) ?? 0) + 1);
          const same = (cut === null || cut === whole.length) && readFileSync(file).equals(whole);
          // Between container and RAM stand bytes that say nothing.
          const padding = end === 'created' && !same;
          if (padding && !changes.every(({ at }) => at >= containerBytes(whole) - 8 && at < ramOf(whole)))
            throw new Error('it was taken');
        } finally {
          closeSync(fd);
          writeFileSync(file, whole);
        }
      },
    ),
    { seed: 61, numRuns: RUNS },
  );
  t.ok(ends.get('bad-container')! > RUNS / 2, JSON.stringify([...ends]));
});

const containerBytes = (whole: Buffer): number => Number(whole.readBigUInt64LE(16));
const ramOf = (whole: Buffer): number => whole.length - MEMORY;

/** Another value of the same kind: what reaches the kernel. */
const NUDGE = 'NUDGE';

function nudged(value: unknown, pick: number): unknown {
  if (typeof value === 'number') return value + 1;
  if (typeof value === 'boolean') return !value;
  if (typeof value !== 'string' || value === '') return value;
  const at = pick % value.length;
  return `${value.slice(0, at)}${value[at] === '7' ? '6' : '7'}${value.slice(at + 1)}`;
}

/** Sets the value at a place that `path` picks, deeper and deeper, to `value`. */
function changed(document: unknown, path: readonly number[], value: unknown): unknown {
  const [pick, ...rest] = path;
  const instead = (): unknown => (value === NUDGE ? nudged(document, pick ?? 0) : value);
  if (pick === undefined || typeof document !== 'object' || document === null) return instead();
  const keys = Object.keys(document);
  const key = keys[pick % Math.max(keys.length, 1)];
  if (key === undefined) return instead();
  const next = changed((document as Record<string, unknown>)[key], rest, value);
  return Array.isArray(document)
    ? document.map((item, i) => (String(i) === key ? (next as unknown) : (item as unknown)))
    : { ...document, [key]: next };
}

void t.test('any value changed, with every checksum made right', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = flatMachine(kvm, [0xf4], { memoryBytes: MEMORY });
  writeSnapshot(file, source.saveState());
  const whole = readFileSync(file);
  const sections = decodeContainer(whole.subarray(0, containerBytes(whole)), 'snapshot', file);
  const ends = new Map<string, number>();
  const values = fc.oneof(
    { weight: 3, arbitrary: fc.constant(NUDGE) },
    fc.jsonValue({ maxDepth: 1 }),
    fc.constantFrom(-1, 0.5, 2 ** 53, '', '-1', '18446744073709551616', 'x', [], {}, '0x00000000'),
  );
  fc.assert(
    fc.property(
      fc.nat(sections.length - 1),
      fc.array(fc.nat(1000), { minLength: 1, maxLength: 5 }),
      values,
      fc.constantFrom('value', 'value', 'value', 'value', 'drop', 'double', 'type'),
      (at, path, value, how) => {
        const section = sections[at]!;
        const edited = how === 'value' ? [edit(section, path, value)] : [];
        const instead: Record<typeof how, Section[]> = {
          value: edited,
          drop: [],
          double: [section, section],
          type: [{ ...section, type: path[0]! }],
        };
        const all = [...sections.slice(0, at), ...instead[how], ...sections.slice(at + 1)];
        const head = Buffer.concat(encodeContainer('snapshot', all));
        writeFileSync(
          file,
          Buffer.concat([head, Buffer.alloc(Math.max(ramOf(whole) - head.length, 0)), whole.subarray(ramOf(whole))]),
        );
        const end = restoreOf(kvm, path[0]! % 2 === 0);
        ends.set(end, (ends.get(end) ?? 0) + 1);
      },
    ),
    { seed: 62, numRuns: RUNS },
  );
  t.ok(ends.get('bad-container')! > RUNS / 4, JSON.stringify([...ends]));
});

/** JSON sections as documents; the one that places the RAM as bytes. */
function edit({ type, payload }: Section, path: readonly number[], value: unknown): Section {
  if (type === SECTION.image) {
    const bytes = Buffer.from(payload);
    bytes.writeUInt8(path[0]! & 0xff, path.reduce((sum, one) => sum + one, 0) % bytes.length);
    return { type, payload: bytes };
  }
  return {
    type,
    payload: Buffer.from(JSON.stringify(changed(JSON.parse(Buffer.from(payload).toString()), path, value))),
  };
}
