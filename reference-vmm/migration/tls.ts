/** Certificates of both sides of a migration over TLS: a folder laid out as QEMU's `tls-creds-x509,dir=`. Both sides must show one. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InputError } from '../../corpora/errors.js';

export interface TlsFiles {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Reads `ca-cert.pem`, and `client-` or `server-` `cert.pem` and `key.pem`. Throws `InputError` `unreadable-file`. */
export const readTlsFolder = (folder: string, endpoint: 'client' | 'server'): TlsFiles => {
  const read = (name: string): Buffer => {
    const file = join(folder, name);
    try {
      return readFileSync(file);
    } catch (error) {
      throw new InputError('unreadable-file', `cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`, {
        given: file,
      });
    }
  };
  return { ca: read('ca-cert.pem'), cert: read(`${endpoint}-cert.pem`), key: read(`${endpoint}-key.pem`) };
};
