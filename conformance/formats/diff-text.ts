/** A difference between dumps as a line for people, and as JSON. */
import { fieldName, rowToJson } from '../../corpora/cpuid.js';
import { hex32, hex64 } from '../../corpora/hex.js';
import { msrLabel, msrNameAt } from '../../corpora/msrs.js';
import { rowName } from './cpu-collector.js';
import type { DumpDiff } from './diff.js';
import type { BitDifference, Difference } from './difference.js';

/** `CPU 0: 7.0.EBX 0x... in A, 0x... in B: A has avx512f, [13]; B has hle`. */
export function differenceLine(difference: Difference): string {
  switch (difference.kind) {
    case 'cpu':
      return `CPU ${difference.cpu}: only in ${difference.onlyIn.toUpperCase()}`;
    case 'row': {
      const { cpu, onlyIn, row, features } = difference;
      const values = `eax=${hex32(row.eax)} ebx=${hex32(row.ebx)} ecx=${hex32(row.ecx)} edx=${hex32(row.edx)}`;
      return `CPU ${cpu}: ${rowName(row)} only in ${onlyIn.toUpperCase()}: ${values}${features.length ? ` (${features.join(', ')})` : ''}`;
    }
    case 'register': {
      const { cpu, field, a, b, bits } = difference;
      return `CPU ${cpu}: ${fieldName(field)} ${hex32(a)} in A, ${hex32(b)} in B: ${bitsText(bits)}`;
    }
    case 'msr': {
      const { cpu, index, a, b, bits } = difference;
      return `CPU ${cpu}: ${msrLabel(index)} ${msrText(a)} in A, ${msrText(b)} in B${bits.length ? `: ${bitsText(bits)}` : ''}`;
    }
    case 'name':
      return `${difference.what}: ${difference.a ?? 'not named'} in A, ${difference.b ?? 'not named'} in B`;
  }
}

const msrText = (msr: bigint | string | null): string => (typeof msr === 'bigint' ? hex64(msr) : (msr ?? 'not there'));

function bitsText(bits: readonly BitDifference[]): string {
  const named = (of: (bit: BitDifference) => boolean): string =>
    bits
      .filter(of)
      .map(({ bit, name }) => name ?? `[${bit}]`)
      .join(', ');
  const parts = [
    ['A has', named(({ a, b }) => a === 1 && b !== null)],
    ['B has', named(({ a, b }) => b === 1 && a !== null)],
    ['only A pins', named(({ b }) => b === null)],
    ['only B pins', named(({ a }) => a === null)],
  ];
  return parts.flatMap(([what, list]) => (list ? [`${what} ${list}`] : [])).join('; ');
}

/** The document of `diff --json`, without its schema. */
export const diffToJson = ({ differences, compared, open }: DumpDiff): object => ({
  same: differences.length === 0 && compared > 0,
  compared,
  open,
  differences: differences.map(differenceToJson),
});

function differenceToJson(difference: Difference): object {
  switch (difference.kind) {
    case 'row':
      return { ...difference, row: rowToJson(difference.row) };
    case 'register': {
      const { cpu, field, a, b, bits } = difference;
      const place = {
        leaf: hex32(field.leaf),
        subleaf: field.subleaf === null ? null : hex32(field.subleaf),
        register: field.register,
      };
      return { kind: 'register', cpu, ...place, a: hex32(a), b: hex32(b), bits };
    }
    case 'msr': {
      const value = (msr: bigint | string | null): string | null => (typeof msr === 'bigint' ? hex64(msr) : msr);
      return {
        ...difference,
        index: hex32(difference.index),
        name: msrNameAt(difference.index),
        a: value(difference.a),
        b: value(difference.b),
      };
    }
    default:
      return difference;
  }
}
