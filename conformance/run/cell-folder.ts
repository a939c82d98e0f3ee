/** Where a cell keeps its files and unix sockets: a folder of its own among the temporary ones. */
import { tmpdir } from 'node:os';
import { MachineError } from '../../corpora/errors.js';
import { makeFolder } from '../ends-with-us.js';

/** Bytes of a unix socket's path (unix(7)), and those that ours take behind the temporary folder. */
const SOCKET_PATH_CAP = 107;
const OURS = '/guest-abi-XXXXXX/hop-10-cancelled.sock.near'.length;

/** Throws `MachineError` `temporary-folder-too-long` where no socket could stand in it. */
export function makeCellFolder(): string {
  const allowed = SOCKET_PATH_CAP - OURS;
  if (Buffer.byteLength(tmpdir()) > allowed)
    throw new MachineError(
      'temporary-folder-too-long',
      `TMPDIR is ${tmpdir()}: sockets in it need a path of at most ${allowed} bytes`,
      { given: tmpdir() },
    );
  return makeFolder('guest-abi-');
}
