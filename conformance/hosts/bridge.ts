/** Joins unix sockets of two hosts that share no file system, so that a guest can migrate between them. */
import { createServer, connect as netConnect, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { InputError } from '../../corpora/errors.js';
import type { AgentSession } from './host.js';

/**
 * Makes `path` on the source's host lead to `path` on the destination's, where an agent listens already. One connection,
 * both ways; disposing cuts it.
 */
export async function bridgeSockets(
  source: AgentSession,
  destination: AgentSession,
  path: string,
): Promise<AsyncDisposable> {
  const from = await source.socket('listen', path);
  const to = await destination.socket('connect', path);
  for (const stream of [from, to]) stream.on('error', () => {});
  from.pipe(to).pipe(from);
  return {
    [Symbol.asyncDispose]: async () => {
      from.destroy();
      to.destroy();
    },
  };
}

/** `AgentSession.socket` for agents on this machine. */
export async function localSocket(kind: 'connect' | 'listen', path: string): Promise<Duplex> {
  return kind === 'connect' ? netConnect(path) : acceptOne(path);
}

/** The stream stands at once; what is written before somebody connects waits. */
async function acceptOne(path: string): Promise<Duplex> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
  const peer = new Promise<Socket>((resolve) => server.once('connection', resolve));
  void peer.then(() => server.close());
  const stream: Duplex = new Duplex({
    read: () => void peer.then((socket) => socket.resume()),
    write: (chunk, _encoding, done) => void peer.then((socket) => socket.write(chunk, () => done())),
    final: (done) => void peer.then((socket) => socket.end(done)),
    destroy: (error, done) => {
      server.close();
      void peer.then((socket) => socket.destroy());
      done(error);
    },
  });
  void peer.then((socket) => {
    socket.on('data', (bytes) => stream.push(bytes) || socket.pause());
    socket.on('error', () => {});
    socket.once('end', () => stream.push(null));
  });
  return stream;
}

/** stdin and stdout to the socket that the words `connect PATH` or `listen PATH` name; one byte on stdout says that it stands. */
export async function pipeSocket([kind, path]: readonly string[]): Promise<void> {
  if ((kind !== 'connect' && kind !== 'listen') || !path)
    throw new InputError('bad-socket', '--socket takes: connect PATH, or listen PATH', { given: `${kind} ${path}` });
  const socket = await localSocket(kind, path);
  process.stdout.write('\n');
  await Promise.race([pipeline(process.stdin, socket), pipeline(socket, process.stdout)]);
}
