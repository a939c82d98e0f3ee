/** Reads the fields of a device's saved state. */

/** The number `name` of `state`, an integer from 0 to `maximum`. Throws `TypeError` on anything else. */
export function savedNumber(state: unknown, name: string, maximum: number): number {
  const value = (state as Record<string, unknown> | null)?.[name];
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > maximum)
    throw new TypeError(`${name} is no integer from 0 to ${maximum}`);
  return value as number;
}

/** The bytes `name` of `state`, base64. Throws `TypeError` on anything else. */
export function savedBytes(state: unknown, name: string): Uint8Array {
  const value = (state as Record<string, unknown> | null)?.[name];
  if (typeof value !== 'string') throw new TypeError(`${name} is no base64 text`);
  return Buffer.from(value, 'base64');
}
