/** The text of definitions and contracts: JSON, with large numbers as hex strings. */
import { hex32 } from './hex.js';
import { badFile } from './schema/corpora-files.js';

/** A QEMU property's value. Null only for properties that have no value until given (`hv-vendor-id`). */
export type PropertyValue = boolean | number | string | null;

/** Large numbers stand in files as hex strings: `"min-xlevel": "0x8000000a"`. */
export const propertyFromFile = (value: PropertyValue): PropertyValue =>
  typeof value === 'string' && /^0x[0-9a-f]{8}$/.test(value) ? Number(value) : value;

const reviver = (_key: string, value: PropertyValue): PropertyValue => propertyFromFile(value);

/** The opposite of `propertyFromFile`. */
export const propertyToFile = (value: PropertyValue): PropertyValue =>
  typeof value === 'number' && value >= 0x10000 && value <= 0xffffffff ? hex32(value) : value;

/** A file at `path` below a corpora folder; contracts hold hex strings, and no numbers. Throws `InputError` on what is no JSON; `file` is its name there. */
export function parseDefinition(text: string, path: string, file: string): unknown {
  try {
    return JSON.parse(text, /^(msr-)?contracts\//.test(path) ? undefined : reviver);
  } catch (error) {
    throw badFile(file, (error as Error).message);
  }
}
