/** Where in a text something stands, and the error that says so. */
import { InputError } from '../../corpora/errors.js';

/** A text with the name of its format: what every error of a parser names. */
export interface Source {
  readonly format: string;
  readonly text: string;
}

/** Line and column of an offset, both from 1. */
export function placeOf(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset);
  const lineStart = before.lastIndexOf('\n') + 1;
  return { line: before.split('\n').length, column: offset - lineStart + 1 };
}

/** The error for malformed input: `cpuid-raw: line 3, column 8: expected ...`. */
export function malformed(source: Source, offset: number, message: string): InputError {
  const { line, column } = placeOf(source.text, offset);
  const given = source.text.slice(offset).split(/\r?\n/, 1)[0]!.slice(0, 40);
  return new InputError('malformed-input', `${source.format}: line ${line}, column ${column}: ${message}`, { given });
}

/** As `malformed`, for a place where something else was due; quotes what stands there. */
export function expected(source: Source, offset: number, what: string): InputError {
  const found = /^\S+|^[^\S\n]+/.exec(source.text.slice(offset, offset + 40));
  return malformed(source, offset, `expected ${what}, found ${found ? `'${found[0]}'` : endName(source, offset)}`);
}

const endName = ({ text }: Source, offset: number): string =>
  offset >= text.length ? 'the end of the file' : 'the end of the line';
