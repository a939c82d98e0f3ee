/** Texts from one format to another, and compared: what `guest-abi convert` and `guest-abi diff` do, without files. */
import { type DumpDiff, diffDumps } from './diff.js';
import type { NameOf } from './difference.js';
import type { CpuDump } from './dump.js';
import type { Parsed } from './format.js';
import { formatNamed, recognize } from './formats.js';
import { bitsToNames, type FeatureNames, namesToBits, type Renamed } from './names.js';

export interface Input {
  readonly text: string;
  /** The format's name; recognized where not given. */
  readonly from?: string;
}

export interface Read extends Parsed {
  readonly format: string;
}

export interface Converted {
  readonly from: string;
  readonly text: string;
  /** Everything that the input says and the output does not, one sentence each. */
  readonly losses: readonly string[];
}

/** Throws `InputError`: `unknown-format`, `unrecognized-format`, `malformed-input`. */
export function readInput({ text, from }: Input): Read {
  const format = from === undefined ? recognize(text) : formatNamed(from);
  return { format: format.name, ...format.parse(text) };
}

/** Throws what `readInput` throws, and `InputError` `no-names` or `no-model` where the output cannot be without them. */
export function convert(input: Input, to: string, names: FeatureNames): Converted {
  const format = formatNamed(to);
  const read = readInput(input);
  const { dump, losses } = inTermsOf(format.speaks, read.dump, names);
  const written = format.write(dump);
  return { from: read.format, text: written.text, losses: [...read.losses, ...losses, ...written.losses] };
}

function inTermsOf(speaks: 'bits' | 'names' | 'both', dump: CpuDump, names: FeatureNames): Renamed {
  if (speaks === 'bits' && speaksNamesOnly(dump)) return namesToBits(dump, names);
  if (speaks === 'names' && dump.cpus.length && !dump.named?.features.length)
    return bitsToNames(dump, dump.named?.model ?? null, names);
  return { dump, losses: [] };
}

const speaksNamesOnly = (dump: CpuDump): boolean => dump.named !== null && dump.cpus.length === 0;

export interface Compared {
  readonly diff: DumpDiff;
  /** What was not compared, one sentence each, beginning with `A: ` or `B: `. */
  readonly losses: readonly string[];
}

/** Compares two inputs; where only one speaks in names, by the bits of its features. Throws what `readInput` throws. */
export function compare(a: Input, b: Input, names: FeatureNames, nameOf: NameOf): Compared {
  const [one, two] = [readInput(a), readInput(b)];
  const terms = speaksNamesOnly(one.dump) && speaksNamesOnly(two.dump) ? 'names' : 'bits';
  const [left, right] = [inTermsOf(terms, one.dump, names), inTermsOf(terms, two.dump, names)];
  const side = (letter: string, losses: readonly string[]): string[] => losses.map((loss) => `${letter}: ${loss}`);
  return {
    diff: diffDumps(left.dump, right.dump, nameOf),
    losses: [...side('A', [...one.losses, ...left.losses]), ...side('B', [...two.losses, ...right.losses])],
  };
}
