/** Files on their way through the agent's protocol: gzip in base64. */
import { ftruncateSync, readFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import { InputError } from '../../../corpora/errors.js';
import { NewFile } from '../../../corpora/write-file.js';
import { CONTAINER_LIMIT } from '../../../reference-vmm/snapshot/file.js';

/** The fastest level: the zeros of a snapshot are what counts, and a host may be an emulated one. */
export const packFile = (file: string): string => gzipSync(readFileSync(file), { level: 1 }).toString('base64');

/** Blocks of zeros are left out of a file, so that whoever reads it can skip them as in the file that was packed. */
const BLOCK_BYTES = 64 * 1024;
const ZEROS = Buffer.alloc(BLOCK_BYTES);

/** Throws `InputError` `bad-packed-file`, `MachineError` `file-not-written`. */
export function unpackFile(file: string, packed: string): void {
  let bytes: Buffer;
  try {
    bytes = gunzipSync(Buffer.from(packed, 'base64'), { maxOutputLength: CONTAINER_LIMIT });
  } catch (error) {
    throw new InputError('bad-packed-file', `what came for ${file} is no gzip: ${(error as Error).message}`);
  }
  const made = new NewFile(file);
  try {
    for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
      const block = bytes.subarray(at, at + BLOCK_BYTES);
      if (!block.equals(ZEROS.subarray(0, block.length))) made.write(block, at);
    }
    ftruncateSync(made.fd, bytes.length);
    made.commit();
  } finally {
    made.discard();
  }
}
