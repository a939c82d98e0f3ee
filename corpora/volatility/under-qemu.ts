/** MSRs that a QEMU's guest reads otherwise than the identity says: what firmware wrote before, and what an emulator does not model. */
import { readFileSync } from 'node:fs';
import { InputError } from '../errors.js';
import { hex32, hex64, parseHex32, parseHex64 } from '../hex.js';
import type { CpuIdentity } from '../identity.js';
import { packageFile } from '../package-root.js';

const ACCELERATORS = ['tcg', 'kvm'] as const;
type Accelerator = (typeof ACCELERATORS)[number];

/** What an MSR shows in place of its identity's value: another one, what firmware left there, or a count of what firmware did so far. */
export type ShownUnderQemu = 'firmware' | 'count' | bigint;

interface Entry {
  readonly first: number;
  readonly last: number;
  readonly accelerators: readonly Accelerator[];
  /** Only where the CPU has this feature. */
  readonly when: string | null;
  readonly shows: ShownUnderQemu;
}

const SCHEMA = 'guest-abi/under-qemu/1';
const KEYS = ['first', 'last', 'accelerators', 'when', 'shows', 'why', 'source'];

type Json = Readonly<Record<string, unknown>>;

/** Reads the file. Throws `InputError` (`bad-volatility`) naming the entry at fault. */
export function loadUnderQemu(file = packageFile('corpora/volatility/under-qemu.json')): readonly Entry[] {
  const { schema, msrs } = JSON.parse(readFileSync(file, 'utf8')) as { schema: unknown; msrs: Json[] };
  if (schema !== SCHEMA) throw new InputError('bad-volatility', `${file}: schema is not ${SCHEMA}`);
  return msrs.map((json, i) => {
    try {
      return entryOf(json);
    } catch (cause) {
      throw new InputError('bad-volatility', `${file}: entry ${i}: ${(cause as Error).message}`, { cause });
    }
  });
}

function entryOf(json: Json): Entry {
  const stray = Object.keys(json).filter((key) => !KEYS.includes(key));
  if (stray.length > 0) throw new RangeError(`unknown key ${stray.join(', ')}`);
  const { accelerators, when = null } = json;
  const text = (key: string): string => {
    const value = json[key];
    if (typeof value !== 'string' || !value) throw new RangeError(`${key} is no text`);
    return value;
  };
  const known = (one: unknown): one is Accelerator => ACCELERATORS.includes(one as Accelerator);
  if (!Array.isArray(accelerators) || accelerators.length === 0 || !accelerators.every(known))
    throw new RangeError('accelerators are tcg and kvm');
  if (when !== null) text('when');
  for (const grounds of ['why', 'source']) text(grounds);
  const [first, last, shows] = [parseHex32(text('first')), parseHex32(text('last')), text('shows')];
  if (last < first) throw new RangeError('last is below first');
  return {
    ...{ first, last, accelerators, when: when as string | null },
    shows: shows === 'firmware' || shows === 'count' ? shows : parseHex64(shows),
  };
}

let builtIn: readonly Entry[] | undefined;

/** What the MSR of this index shows under a QEMU to a CPU with these features; null: its identity's value. */
export function shownUnderQemu(
  index: number,
  accelerator: Accelerator,
  features: readonly string[],
): ShownUnderQemu | null {
  builtIn ??= loadUnderQemu();
  const entry = builtIn.find((one) => one.accelerators.includes(accelerator) && isFor(one, index, features));
  return entry?.shows ?? null;
}

const isFor = ({ first, last, when }: Entry, index: number, features: readonly string[]): boolean =>
  index >= first && index <= last && (when === null || features.includes(when));

/**
 * MSRs of entries that change nothing: under none of their accelerators has an identity one, or each has the value already. Each is dead data or
 * a misspelt exception. `identities`: as they resolve under each accelerator.
 */
export function unmatchedUnderQemu(
  entries: readonly Entry[],
  identities: Readonly<Record<Accelerator, readonly Pick<CpuIdentity, 'msrs' | 'features'>[]>>,
): string[] {
  const isUsed = (entry: Entry, index: number): boolean =>
    entry.accelerators.some((accelerator) =>
      identities[accelerator].some(({ msrs, features }) => {
        const own = msrs.find((msr) => msr.index === index);
        return own !== undefined && isFor(entry, index, features) && own.value !== entry.shows;
      }),
    );
  return entries.flatMap((entry) => {
    const { first, last, shows } = entry;
    const indices = Array.from({ length: last - first + 1 }, (_, i) => first + i);
    const shown = typeof shows === 'bigint' ? hex64(shows) : shows;
    return indices.filter((index) => !isUsed(entry, index)).map((index) => `MSR ${hex32(index)} under QEMU (${shown})`);
  });
}
