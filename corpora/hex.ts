/** Hex strings as the data files and JSON outputs write them: `0x`, lower case, fixed width. */

/** A 32-bit value as `0x` and 8 digits. */
export const hex32 = (value: number): string => `0x${(value >>> 0).toString(16).padStart(8, '0')}`;

/** A 64-bit value as `0x` and 16 digits. */
export const hex64 = (value: bigint): string => `0x${BigInt.asUintN(64, value).toString(16).padStart(16, '0')}`;

/** A value of any size in the fewest digits, for messages: `0x40000001`, `0xd`. */
export const hexShort = (value: number): string => `0x${(value >>> 0).toString(16)}`;

/** Reads what `hex32` writes. Throws `RangeError` on anything that is not a 32-bit hex string. */
export function parseHex32(text: string): number {
  if (!/^0x[0-9a-fA-F]{1,8}$/.test(text)) throw new RangeError(`not a 32-bit hex value: ${text}`);
  return Number.parseInt(text.slice(2), 16) >>> 0;
}

/** Reads what `hex64` writes. Throws `RangeError` on anything that is not a 64-bit hex string. */
export function parseHex64(text: string): bigint {
  if (!/^0x[0-9a-fA-F]{1,16}$/.test(text)) throw new RangeError(`not a 64-bit hex value: ${text}`);
  return BigInt(text);
}
