/** Joins unix sockets of two hosts, so that a guest can migrate between them. */
import { createServer, connect as netConnect, type Socket } from 'node:net';
import { Duplex, type Readable, type Writable } from 'node:stream';
import { InputError, MachineError } from '../../corpora/errors.js';
import { inFolder } from './agent/made-folders.js';
import type { AgentSession } from './host.js';

/** A link between two hosts; disposing cuts it and waits until nothing of it is left. */
export interface Bridge extends AsyncDisposable {
  /** The socket to connect to on the source's host. */
  readonly path: string;
}

/** The source's end of a link to `path`. Not `path` itself: both hosts may be one machine (ssh to this one), which has one file of a name. */
export const nearSocket = (path: string): string => `${path}.near`;

/**
 * Makes a socket on the source's host lead to `path` on the destination's, where an agent listens already. One connection,
 * both ways; the end of either side ends the other.
 */
export async function bridgeSockets(source: AgentSession, destination: AgentSession, path: string): Promise<Bridge> {
  const near = nearSocket(path);
  const from = await source.socket('listen', near);
  const to = await destination.socket('connect', path).catch(async (error: unknown) => {
    await cut(from);
    throw error;
  });
  for (const [side, other] of [
    [from, to],
    [to, from],
  ] as const) {
    side.on('error', () => {});
    side.pipe(other);
    side.once('close', () => other.end());
  }
  return {
    path: near,
    [Symbol.asyncDispose]: async () => {
      await Promise.all([cut(from), cut(to)]);
    },
  };
}

const cut = (stream: Duplex): Promise<void> =>
  new Promise((resolve) => {
    if (stream.closed) return resolve();
    stream.once('close', resolve).on('error', () => {});
    stream.destroy();
  });

/** `AgentSession.socket` for agents on this machine. Throws `MachineError` where nobody listens, or one cannot. */
export async function localSocket(kind: 'connect' | 'listen', path: string): Promise<Duplex> {
  try {
    return await (kind === 'connect' ? connectTo(path) : acceptOne(inFolder(path)));
  } catch (error) {
    throw new MachineError('migration-link', (error as Error).message, { given: path, cause: error });
  }
}

const connectTo = (path: string): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = netConnect(path, () => resolve(socket.off('error', reject)));
    socket.once('error', reject);
  });

/** The stream stands at once; what is written before somebody connects waits. */
async function acceptOne(path: string): Promise<Duplex> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
  const peer = new Promise<Socket>((resolve) => server.once('connection', resolve));
  let socket: Socket | null = null;
  void peer.then((accepted) => {
    socket = accepted;
    server.close();
  });
  return streamOver(
    peer.then((both) => ({ input: both, output: both })),
    async () => {
      server.close();
      socket?.destroy();
    },
  );
}

/**
 * One stream of the two halves of another, which may come later. `end` ends the other: when the stream is destroyed, and when
 * it has no more to say before the halves came.
 */
export function streamOver(
  halves: Promise<{ readonly input: Readable; readonly output: Writable }>,
  end: () => Promise<void>,
): Duplex {
  let came = false;
  const stream: Duplex = new Duplex({
    read: () => void halves.then(({ input }) => input.resume()),
    write: (chunk, _encoding, done) => void halves.then(({ output }) => output.write(chunk, () => done())),
    final: (done) =>
      void (came ? halves.then(({ output }) => output.end(() => done())) : end().then(() => stream.destroy())),
    destroy: (error, done) => void end().then(() => done(error)),
  });
  void halves.then(({ input, output }) => {
    came = true;
    for (const half of [input, output]) half.on('error', () => {});
    input.on('data', (bytes) => stream.push(bytes) || input.pause());
    // Not `end`, which a connection that is reset never gives.
    input.once('close', () => stream.push(null));
  });
  return stream;
}

/**
 * stdin and stdout to the socket that the words `connect PATH` or `listen PATH` name; one byte on stdout says that it stands.
 * Resolves when either side has ended and the other has all of its bytes.
 */
export async function pipeSocket([kind, path]: readonly string[]): Promise<void> {
  if ((kind !== 'connect' && kind !== 'listen') || !path)
    throw new InputError('bad-socket', '--socket takes: connect PATH, or listen PATH', { given: `${kind} ${path}` });
  const socket = await localSocket(kind, path);
  process.stdout.write('\n');
  await new Promise<void>((resolve) => {
    socket.on('error', () => {}).once('close', resolve);
    socket.once('end', resolve);
    socket.once('finish', resolve);
    process.stdout.once('error', () => resolve());
    process.stdin.once('error', () => resolve());
    process.stdin.pipe(socket).pipe(process.stdout);
  });
}
