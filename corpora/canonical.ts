/** The one way that files of `corpora/` are written, so that a diff shows what changed and nothing else. */

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** What fits into one line stays in one. */
const LINE = 118;

/**
 * Canonical text of a value: two spaces a level, keys in the order given; an object that is an element of a list and holds only
 * scalars stands in one line, as does any short list.
 */
export const canonical = (value: unknown): string => `${write(value as Json, '', false)}\n`;

function write(value: Json, indent: string, element: boolean): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const deeper = `${indent}  `;
  if (isList(value)) {
    if (isFlat(value)) {
      const line = `[${value.map((one) => JSON.stringify(one)).join(', ')}]`;
      if (element || indent.length + line.length <= LINE) return line;
    }
    return `[\n${value.map((one) => deeper + write(one, deeper, true)).join(',\n')}\n${indent}]`;
  }
  const entries = Object.entries(value).filter((entry): entry is [string, Json] => entry[1] !== undefined);
  if (!entries.length) return '{}';
  const written = (key: string, one: Json, inner: string): string =>
    `${JSON.stringify(key)}: ${write(one, inner, false)}`;
  if (element && entries.every(([, one]) => isFlat(one))) {
    return `{ ${entries.map(([key, one]) => written(key, one, '')).join(', ')} }`;
  }
  return `{\n${entries.map(([key, one]) => deeper + written(key, one, deeper)).join(',\n')}\n${indent}}`;
}

const isList = (value: Json): value is readonly Json[] => Array.isArray(value);
const isScalar = (value: Json): boolean => value === null || typeof value !== 'object';
const isFlat = (value: Json): boolean => isScalar(value) || (isList(value) && value.every(isScalar));
