/** Files on their way through the agent's protocol: gzip in base64. */
import { readFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import { InputError } from '../../../corpora/errors.js';
import { writeFileWhole } from '../../../corpora/write-file.js';
import { CONTAINER_LIMIT } from '../../../reference-vmm/snapshot/file.js';

/** The fastest level: the zeros of a snapshot are what counts, and a host may be an emulated one. */
export const packFile = (file: string): string => gzipSync(readFileSync(file), { level: 1 }).toString('base64');

/** Throws `InputError` `bad-packed-file`. */
export function unpackFile(file: string, packed: string): void {
  let bytes: Uint8Array;
  try {
    bytes = gunzipSync(Buffer.from(packed, 'base64'), { maxOutputLength: CONTAINER_LIMIT });
  } catch (error) {
    throw new InputError('bad-packed-file', `what came for ${file} is no gzip: ${(error as Error).message}`);
  }
  writeFileWhole(file, [bytes]);
}
