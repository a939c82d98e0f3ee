/** What apt and dpkg say when they fail, as errors with a stable code, one line and a cure. */
import { MachineError } from '../../corpora/errors.js';
import { diskFull } from './cache.js';

interface Failure {
  readonly says: RegExp;
  readonly code: string;
  readonly cure: string;
}

/** Tried in this order: the first that matches names the failure. */
const FAILURES: readonly Failure[] = [
  {
    says: /NO_PUBKEY|is not signed|signatures? (couldn't be verified|were invalid)|EXPKEYSIG|BADSIG|REVKEYSIG|OpenPGP signature/,
    code: 'package-signature',
    cure: 'the signature cannot be checked with the keys of this machine; update package debian-archive-keyring',
  },
  {
    says: /Release file .* expired/,
    code: 'package-lists-expired',
    cure: "the mirror's lists are too old; check the mirror and the clock",
  },
  {
    says: /Hash Sum mismatch|File has unexpected size|unexpected end of file|is not a Debian format archive|lzma error|corrupt/i,
    code: 'package-corrupt',
    cure: 'a file does not match its checksum; run it again, or choose another mirror',
  },
  {
    says: /Temporary failure resolving|Could not resolve|Could not connect|Unable to connect|Connection (failed|timed out|refused|reset)|Network is unreachable|Cannot initiate the connection|no end after/,
    code: 'no-network',
    cure: 'the mirror cannot be reached; check the network (what is in the cache works without one)',
  },
  {
    says: /does not have a Release file|404 +Not Found|File not found/,
    code: 'package-suite-missing',
    cure: 'the mirror of this machine does not carry it (any more)',
  },
  {
    says: /Unable to locate package|has no installation candidate|Can't find|No packages found|Version .* was not found/,
    code: 'package-missing',
    cure: 'the suite has no such package',
  },
];

/** The error for a failed step: `text` is what apt or dpkg-deb wrote. */
export function aptFailure(step: string, text: string): MachineError {
  if (/No space left on device|enough free space/.test(text)) return diskFull(step);
  const lines = text.split('\n').map((line) => line.replace(/^[WE]: /, '').trim());
  const failure = FAILURES.find(({ says }) => lines.some((line) => says.test(line)));
  const detail = (failure && lines.find((line) => failure.says.test(line))) ?? lines.find(Boolean) ?? 'no message';
  return new MachineError(
    failure?.code ?? 'apt-failed',
    `${step}: ${failure ? `${failure.cure} (${detail})` : detail}`,
  );
}
