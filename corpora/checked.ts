/** Readers of values that came from outside as JSON: each gives what it promises, or throws `RangeError` saying what stands where. */

const shown = (value: unknown): string => (JSON.stringify(value) ?? 'nothing').slice(0, 40);

/** An object that is no list. */
export function checkedFields(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new RangeError(`${where} is ${shown(value)}, no object`);
  return value as Record<string, unknown>;
}

/** A list of at most `cap` elements. */
export function checkedList(value: unknown, cap: number, where: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new RangeError(`${where} is ${shown(value)}, no list`);
  if (value.length > cap) throw new RangeError(`${where} has ${value.length} elements, at most ${cap} are allowed`);
  return value;
}

/** A whole number from 0 to `maximum`. */
export function checkedNumber(value: unknown, maximum: number, where: string): number {
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > maximum)
    throw new RangeError(`${where} is ${shown(value)}, no whole number from 0 to ${maximum}`);
  return value as number;
}

/** Text of at most `cap` characters. */
export function checkedText(value: unknown, cap: number, where: string): string {
  if (typeof value !== 'string' || value.length > cap)
    throw new RangeError(`${where} is ${shown(value)}, no text of at most ${cap} characters`);
  return value;
}

/** A whole number from 0 to `maximum` in decimal digits. */
export function checkedDigits(value: unknown, maximum: bigint, where: string): bigint {
  if (typeof value !== 'string' || !/^[0-9]{1,20}$/.test(value) || BigInt(value) > maximum)
    throw new RangeError(`${where} is ${shown(value)}, no number from 0 to ${maximum}`);
  return BigInt(value);
}
