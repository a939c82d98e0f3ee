/** The QMP server: QEMU's machine protocol on a unix socket that only its owner may open. */
import { once } from 'node:events';
import { rmSync, statSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { InputError } from '../../corpora/errors.js';
import { command, type QmpCommands } from './qmp-command.js';
import { NEGOTIATION, QmpSession, type QmpVersion } from './qmp-session.js';

/** Most clients at a time: QEMU serves one. */
const CLIENTS = 8;
/** Unread bytes of a client that is cut off: it does not read its events. */
const BACKLOG_BYTES = 4 * 1024 * 1024;

/**
 * The release of QEMU whose schema the commands follow. Clients decide by this number what they may ask; `package` says whose the server really is.
 */
const SCHEMA_OF = { micro: 0, minor: 1, major: 11 } as const;

export class QmpServer implements AsyncDisposable {
  readonly path: string;
  readonly #server: Server;
  readonly #version: QmpVersion;
  readonly #clients = new Map<Socket, QmpSession>();
  #commands: QmpCommands | null = null;
  /** Clients that came before there were commands: they wait for their greeting. */
  readonly #early: Socket[] = [];

  private constructor(path: string, version: string) {
    this.path = path;
    this.#version = { qemu: SCHEMA_OF, package: `guest-abi ${version}` };
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.maxConnections = CLIENTS;
  }

  /**
   * Listens at `path`; a socket there that nobody listens at is replaced. `version` is that of the package. Clients can connect from here on, and are
   * greeted with `serve`. Throws `InputError` `bad-socket`.
   */
  static async listen(path: string, version: string): Promise<QmpServer> {
    await removeStale(path);
    const server = new QmpServer(path, version);
    const listening = once(server.#server, 'listening');
    // Bound within this call: nobody else can have opened it before the mode is right.
    const before = process.umask(0o177);
    try {
      server.#server.listen(path);
    } finally {
      process.umask(before);
    }
    try {
      await listening;
    } catch (error) {
      throw new InputError('bad-socket', `cannot listen at ${path}: ${(error as NodeJS.ErrnoException).code}`, {
        given: path,
      });
    }
    return server;
  }

  serve(commands: QmpCommands): void {
    const all: QmpCommands = {
      ...commands,
      'query-version': command({}, () => this.#version),
      'query-commands': command({}, () => Object.keys(offered).map((name) => ({ name }))),
      'query-qmp-schema': command({}, async () => (await import('./qmp-schema.js')).qmpSchema(offered)),
    };
    const offered: QmpCommands = { qmp_capabilities: command(NEGOTIATION, () => undefined), ...all };
    this.#commands = all;
    for (const socket of this.#early.splice(0)) if (!socket.destroyed) this.#greet(socket, all);
  }

  /** Tells all clients. */
  readonly emit = (event: string, data?: object): void => {
    const now = performance.timeOrigin + performance.now();
    for (const session of this.#clients.values()) session.event(event, data, now);
  };

  #accept(socket: Socket): void {
    socket.setEncoding('utf8');
    socket.on('error', () => socket.destroy());
    if (this.#commands) this.#greet(socket, this.#commands);
    else this.#early.push(socket);
  }

  #greet(socket: Socket, commands: QmpCommands): void {
    socket.on('close', () => this.#clients.delete(socket));
    const write = (text: string): void => {
      if (socket.writableLength > BACKLOG_BYTES) socket.destroy();
      else if (socket.writable) socket.write(text);
    };
    const session = new QmpSession(this.#version, () => commands, write);
    this.#clients.set(socket, session);
    socket.on('data', (text: string) => {
      if (!session.receive(text)) socket.end();
    });
  }

  /** Closes the socket once what was said is sent. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of [...this.#early, ...this.#clients.keys()]) socket.destroySoon();
    await closed;
  }
}

/** A socket that another process left; throws where someone listens, or where it is no socket. */
async function removeStale(path: string): Promise<void> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) return;
  if (!found.isSocket()) throw new InputError('bad-socket', `${path} is there and is no socket`, { given: path });
  const inUse = await new Promise<boolean>((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.unref().once('connect', () => socket.destroy());
  });
  if (inUse) throw new InputError('bad-socket', `${path} is in use`, { given: path });
  rmSync(path, { force: true });
}
