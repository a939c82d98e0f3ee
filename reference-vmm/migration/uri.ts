/** Where a migration goes to or comes from, in QEMU's spelling: `unix:PATH`, `tcp:HOST:PORT`, `fd:N`, `exec:COMMAND`. */
import { InputError } from '../../corpora/errors.js';

export type MigrationUri =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  /** A connected stream socket that this process inherited. */
  | { readonly kind: 'fd'; readonly fd: number }
  /** A shell command whose stdin and stdout are the link. */
  | { readonly kind: 'exec'; readonly command: string };

const FORMS = ['unix:PATH', 'tcp:HOST:PORT', 'fd:N', 'exec:COMMAND'];
/** sun_path of struct sockaddr_un is 108 bytes, the last one 0. */
const PATH_CAP = 107;

/** Throws `InputError` `bad-migration-uri`. */
export function parseMigrationUri(text: string): MigrationUri {
  const [, kind, rest = ''] = /^([a-z]+):(.*)$/s.exec(text) ?? [];
  const bad = (why: string): InputError =>
    new InputError('bad-migration-uri', `migration to or from '${text}': ${why}; allowed are ${FORMS.join(', ')}`, {
      given: text,
      nearest: FORMS.filter((form) => form.startsWith(`${kind}:`)),
    });
  switch (kind) {
    case 'unix':
      if (rest === '') throw bad('the path is missing');
      if (Buffer.byteLength(rest) > PATH_CAP) throw bad(`a socket path has at most ${PATH_CAP} bytes`);
      return { kind, path: rest };
    case 'tcp': {
      const [, host, port] = /^(\[[0-9a-fA-F:.]+\]|[^:]*):([0-9]+)$/.exec(rest) ?? [];
      if (host === undefined || Number(port) > 65_535) throw bad('no HOST:PORT');
      return { kind, host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
    }
    case 'fd':
      if (!/^[0-9]{1,6}$/.test(rest)) throw bad('no number of a file descriptor');
      return { kind, fd: Number(rest) };
    case 'exec':
      if (rest.trim() === '') throw bad('the command is missing');
      return { kind, command: rest };
    default:
      throw bad('no such transport');
  }
}
