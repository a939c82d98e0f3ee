/** Certificates for tests of TLS, made by openssl: a CA, a client and a server (`localhost`). */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';

/** Fills the folder with what `readTlsFolder` reads. */
export function makeTlsFolder(folder: string): void {
  const openssl = (...words: string[]) => execFileSync('openssl', words, { cwd: folder, stdio: 'pipe' });
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...curve,
    '-keyout',
    'ca-key.pem',
    '-out',
    'ca-cert.pem',
    '-days',
    '2',
    '-subj',
    '/CN=test CA',
  );
  writeFileSync(`${folder}/names`, 'subjectAltName=DNS:localhost');
  for (const side of ['client', 'server']) {
    openssl('req', ...curve, '-keyout', `${side}-key.pem`, '-out', `${side}.csr`, '-subj', `/CN=${side}`);
    const signer = ['-CA', 'ca-cert.pem', '-CAkey', 'ca-key.pem', '-CAcreateserial', '-days', '2', '-extfile', 'names'];
    openssl('x509', '-req', '-in', `${side}.csr`, '-out', `${side}-cert.pem`, ...signer);
  }
}
