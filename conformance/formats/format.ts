/** What a format is: how it is recognized, read and written. */
import type { Absent, CpuDump } from './dump.js';
import type { FormatName } from './format-names.js';

export interface Parsed {
  readonly dump: CpuDump;
  /** What the text says and the dump does not, one sentence each. */
  readonly losses: readonly string[];
}

export interface Written {
  readonly text: string;
  /** What the dump says and the text does not, one sentence each. */
  readonly losses: readonly string[];
}

export interface Format {
  readonly name: FormatName;
  /** Whose format it is: `cpuid -r (etallen)`. */
  readonly title: string;
  readonly absent: Absent;
  /** Whether it describes CPUs by bits, by names of features, or by both. */
  readonly speaks: 'bits' | 'names' | 'both';
  /** True for a text that can hardly be anything else; cheap, and true only for one format. */
  recognizes(text: string): boolean;
  /** Throws `InputError` `malformed-input` with line and column. */
  parse(text: string): Parsed;
  /** Throws `InputError` where the dump lacks what the format cannot be without. */
  write(dump: CpuDump): Written;
}
