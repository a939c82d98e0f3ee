/** `--qmp unix:PATH`, as QEMU's `-qmp` has it. */
import { InputError } from '../../corpora/errors.js';

/** What QEMU's users write behind the path, and what this server does anyway. */
const TAKEN = new Set(['server', 'server=on', 'nowait', 'wait=off']);
/** `sun_path` of `struct sockaddr_un`, with its closing zero. */
const PATH_BYTES = 107;

/** The path of the socket. Throws `InputError` `bad-qmp`. */
export function socketOf(option: string): string {
  const [address = '', ...flags] = option.split(',');
  const bad = (why: string): InputError => new InputError('bad-qmp', `--qmp ${option}: ${why}`, { given: option });
  if (!address.startsWith('unix:') || address === 'unix:')
    throw bad('must be unix:PATH, behind it at most server=on,wait=off');
  const strange = flags.find((flag) => !TAKEN.has(flag));
  if (strange !== undefined) throw bad(`'${strange}' is not known: allowed are ${[...TAKEN].join(', ')}`);
  const path = address.slice('unix:'.length);
  if (Buffer.byteLength(path) > PATH_BYTES) throw bad(`a socket's path has at most ${PATH_BYTES} bytes`);
  return path;
}
