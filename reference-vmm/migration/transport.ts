/** The streams over which migrations go: each transport gives a connected duplex, to the source by connecting, to the destination by listening. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fstatSync, lstatSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { InputError, MachineError } from '../../corpora/errors.js';
import { MAGIC } from '../snapshot/container.js';
import type { TlsFiles } from './tls.js';
import { type MigrationUri, parseMigrationUri } from './uri.js';

export interface TransportOptions {
  /** Encrypts, over tcp and unix; each side checks the other's certificate against `ca`. */
  readonly tls?: TlsFiles;
  /** The name that the destination's certificate must show; default: the host of the URI. */
  readonly tlsHostname?: string;
  /** Milliseconds to wait for the other side. */
  readonly deadlineMs?: number;
}

const DEADLINE_MS = 30_000;
/** Most connections that are listened to at a time. */
const CANDIDATES = 16;

/** Connects to a destination. Throws `InputError` `bad-migration-uri`, or `MachineError` `migration-link`. */
export async function connectMigration(text: string, options: TransportOptions = {}): Promise<Duplex> {
  const uri = parseMigrationUri(text);
  const { tls, deadlineMs = DEADLINE_MS } = options;
  if (uri.kind === 'fd' || uri.kind === 'exec') return inheritedOrSpawned(uri, text, options);
  const socket = uri.kind === 'unix' ? connect(uri.path) : connect({ host: uri.host, port: uri.port, noDelay: true });
  const plain = await ready(socket, 'connect', text, deadlineMs);
  if (!tls) return plain;
  const servername = options.tlsHostname ?? (uri.kind === 'tcp' ? uri.host : 'localhost');
  return ready(
    connectTls({ socket: plain, ...tls, servername, host: servername, minVersion: 'TLSv1.3' }),
    'secureConnect',
    text,
    deadlineMs,
  );
}

export interface Listening {
  /** The address to connect to: that of the URI, with the port that was given for port 0. */
  readonly uri: string;
  /** Resolves with the first connection that begins as a stream, paused; no other is taken. Throws `MachineError` `migration-link` where none comes in time. */
  readonly connection: Promise<Duplex>;
  close(): void;
}

/** Listens for one source. Resolves once it listens. Throws as `connectMigration`. */
export async function listenForMigration(text: string, options: TransportOptions = {}): Promise<Listening> {
  const uri = parseMigrationUri(text);
  if (uri.kind === 'fd' || uri.kind === 'exec')
    return { uri: text, connection: Promise.resolve(inheritedOrSpawned(uri, text, options)), close: () => undefined };
  const server = createServer({ noDelay: true });
  if (uri.kind === 'unix') removeDeadSocket(uri.path);
  server.listen(uri.kind === 'unix' ? { path: uri.path } : { host: uri.host, port: uri.port });
  try {
    await once(server, 'listening');
  } catch (error) {
    throw failed(`cannot listen on ${text}: ${(error as NodeJS.ErrnoException).code}`, text, error);
  }
  const connection = accept(server, text, options).finally(() => server.close());
  connection.catch(() => undefined);
  const address = server.address();
  return {
    uri: address && typeof address === 'object' ? `tcp:${(uri as { host: string }).host}:${address.port}` : text,
    connection,
    close: () => server.close(),
  };
}

/**
 * The first connection that begins as a stream does. Whatever else connects (a port scanner, a client without the certificate, one that says nothing)
 * is turned away, and uses up nothing; who is silent may be a source on a slow host, and waits until others want its place.
 */
function accept(server: Server, text: string, { tls, deadlineMs = DEADLINE_MS }: TransportOptions): Promise<Duplex> {
  const candidates = new Set<Socket>();
  let strangers = 0;
  let late: NodeJS.Timeout | undefined;
  return new Promise<Duplex>((resolve, reject) => {
    late = setTimeout(() => {
      const others = strangers > 0 ? `; ${strangers} connections were none` : '';
      reject(failed(`no migration came over ${text} within ${deadlineMs} ms${others}`, text));
    }, deadlineMs);
    server.once('close', () => reject(failed(`${text} is listened on no more`, text)));
    server.on('connection', (socket: Socket) => {
      const [eldest] = candidates;
      if (candidates.size === CANDIDATES && eldest) {
        candidates.delete(eldest);
        eldest.destroy();
      }
      candidates.add(socket.on('error', () => undefined));
      const turnAway = (): void => {
        candidates.delete(socket);
        strangers++;
        socket.destroy();
      };
      asStream(socket, tls).then((link) => {
        candidates.delete(socket);
        resolve(link);
      }, turnAway);
    });
  }).finally(() => {
    clearTimeout(late);
    for (const socket of candidates) socket.destroy();
  });
}

/** The connection, decrypted, with what it begins with still to be read. Throws where that is no stream, or nothing. */
async function asStream(socket: Socket, tls: TlsFiles | undefined): Promise<Duplex> {
  const gone = new AbortController();
  socket.once('close', () => gone.abort());
  const { signal } = gone;
  const link = tls ? await secured(socket, tls, signal) : socket;
  await new Promise<void>((resolve, reject) => {
    let begin: Buffer = Buffer.alloc(0);
    const stop = (end: () => void) => (): void => {
      link.off('data', take).off('end', none).off('close', none).pause();
      signal.removeEventListener('abort', none);
      end();
    };
    const none = stop(() => reject(new Error('no stream')));
    const found = stop(() => {
      link.unshift(begin);
      resolve();
    });
    const take = (chunk: Buffer): void => {
      begin = Buffer.concat([begin, chunk]);
      const length = Math.min(begin.length, MAGIC.length);
      if (!begin.subarray(0, length).equals(MAGIC.subarray(0, length))) none();
      else if (length === MAGIC.length) found();
    };
    link.on('data', take).on('end', none).on('close', none);
    signal.addEventListener('abort', none);
  });
  return link;
}

async function secured(socket: Socket, tls: TlsFiles, signal: AbortSignal): Promise<TLSSocket> {
  // A server that listens nowhere: it alone checks the certificate of a client.
  const checker = createTlsServer({ ...tls, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' });
  const refused = once(checker, 'tlsClientError', { signal }).then(([error]) => Promise.reject(error as Error));
  const taken = once(checker, 'secureConnection', { signal });
  for (const outcome of [taken, refused]) outcome.catch(() => undefined);
  checker.emit('connection', socket);
  const [secure] = (await Promise.race([taken, refused])) as [TLSSocket];
  return secure.on('error', () => undefined);
}

/** Resolves with the socket at its event. */
async function ready<S extends Socket | TLSSocket>(
  socket: S,
  event: string,
  text: string,
  deadlineMs: number,
): Promise<S> {
  try {
    await once(socket, event, { signal: AbortSignal.timeout(deadlineMs) });
    return socket;
  } catch (error) {
    socket.destroy();
    const { code, message, name } = error as NodeJS.ErrnoException;
    throw failed(
      `cannot reach ${text}: ${name === 'AbortError' ? `no answer within ${deadlineMs} ms` : (code ?? message)}`,
      text,
      error,
    );
  }
}

const failed = (message: string, given: string, cause?: unknown): MachineError =>
  new MachineError('migration-link', message, { given, cause });

/** A socket file whose process died without removing it: no socket has its name. */
function removeDeadSocket(path: string): void {
  const isSocket = lstatSync(path, { throwIfNoEntry: false })?.isSocket() ?? false;
  const named = readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .some((line) => line.endsWith(` ${path}`));
  if (isSocket && !named) rmSync(path, { force: true });
}

function inheritedOrSpawned(
  uri: Extract<MigrationUri, { kind: 'fd' | 'exec' }>,
  text: string,
  { tls }: TransportOptions,
): Duplex {
  if (tls) throw new InputError('bad-migration-uri', `TLS goes over tcp: or unix:, not over ${text}`, { given: text });
  return uri.kind === 'fd' ? inherited(uri.fd, text) : spawned(uri.command);
}

function inherited(fd: number, text: string): Socket {
  let isSocket = false;
  try {
    isSocket = fstatSync(fd).isSocket();
  } catch {
    // Not open.
  }
  // The answers of the destination need the way back, which neither a file nor a pipe has.
  if (!isSocket)
    throw new InputError('bad-migration-uri', `${text}: no connected socket has this number`, { given: text });
  return new Socket({ fd, readable: true, writable: true });
}

function spawned(command: string): Duplex {
  const child = spawn('/bin/sh', ['-c', command], { stdio: ['pipe', 'pipe', 'inherit'] });
  const both = Duplex.from({ readable: child.stdout, writable: child.stdin });
  // Destroyed before its end it has an error, which whoever uses it was told already.
  both.on('error', () => undefined);
  child.on('error', (error) => both.destroy(error));
  both.once('close', () => child.kill());
  return both;
}
