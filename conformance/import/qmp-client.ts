/** A client of QEMU's machine protocol (QMP) over a unix socket or any duplex stream. */
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { MachineError } from '../../corpora/errors.js';
import { eachLine } from '../packages/lines.js';

export interface QmpEvent {
  readonly event: string;
  readonly data?: unknown;
}

/** QEMU answered a command with an error. `qmpClass` is its class, e.g. `CommandNotFound`, `GenericError`. */
export class QmpCommandError extends MachineError {
  readonly command: string;
  readonly qmpClass: string;

  constructor(command: string, qmpClass: string, description: string) {
    super('qmp-command', `QMP ${command}: ${description}`, { given: command });
    this.command = command;
    this.qmpClass = qmpClass;
  }
}

interface Pending {
  readonly command: string;
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

interface Message {
  QMP?: { version: { qemu: { major: number; minor: number; micro: number } } };
  id?: number;
  return?: unknown;
  error?: { class: string; desc: string };
  event?: string;
  data?: unknown;
}

/** Default time for an answer, in milliseconds. */
const ANSWER_DEADLINE = 20_000;

/** One QMP session. Make one with `connectQmp` or `QmpClient.open`. */
export class QmpClient implements AsyncDisposable {
  /** As QEMU greets, e.g. `10.0.13`. */
  readonly version: string;
  readonly #stream: Duplex;
  readonly #pending: Map<number, Pending>;
  readonly #listeners: Set<(event: QmpEvent) => void>;
  #next = 1;

  private constructor(
    stream: Duplex,
    version: string,
    pending: Map<number, Pending>,
    listeners: Set<(event: QmpEvent) => void>,
  ) {
    this.#stream = stream;
    this.version = version;
    this.#pending = pending;
    this.#listeners = listeners;
  }

  /** Reads the greeting and leaves capabilities negotiation. Throws `MachineError` `qmp-lost` or `qmp-deadline`. */
  static async open(stream: Duplex, deadline = ANSWER_DEADLINE): Promise<QmpClient> {
    const pending = new Map<number, Pending>();
    const listeners = new Set<(event: QmpEvent) => void>();
    const greeting = new Promise<Message>((resolve, reject) => {
      pending.set(0, { command: 'greeting', resolve: (message) => resolve(message as Message), reject });
    });
    dispatchLines(stream, pending, listeners);
    const { QMP } = await within(greeting, deadline, 'greeting', () => pending.delete(0));
    const { major, minor, micro } = QMP!.version.qemu;
    const client = new QmpClient(stream, `${major}.${minor}.${micro}`, pending, listeners);
    await client.execute('qmp_capabilities', {}, deadline);
    return client;
  }

  /** Runs one command and gives its `return`. Throws `QmpCommandError`, or `MachineError` `qmp-lost`/`qmp-deadline`. */
  async execute(command: string, args: object = {}, deadline = ANSWER_DEADLINE): Promise<unknown> {
    const id = this.#next++;
    const answer = new Promise<unknown>((resolve, reject) => this.#pending.set(id, { command, resolve, reject }));
    if (!this.#stream.writable) this.#pending.get(id)!.reject(lost(command));
    else this.#stream.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    try {
      return await within(answer, deadline, command);
    } finally {
      this.#pending.delete(id);
    }
  }

  /** Calls `listener` with every event until the returned function is called. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Resolves with the next event of this name that `matches`. */
  async waitFor(name: string, deadline: number, matches: (data: unknown) => boolean = () => true): Promise<QmpEvent> {
    let stop = (): void => {};
    const seen = new Promise<QmpEvent>((resolve, reject) => {
      stop = this.onEvent((event) => event.event === name && matches(event.data) && resolve(event));
      this.#stream.once('close', () => reject(lost(name)));
    });
    return within(seen, deadline, `event ${name}`).finally(stop);
  }

  /** Closes the connection; the QEMU goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stream.destroy();
  }
}

/** Connects to QEMU's socket at `path`, which may not exist yet; tries until `deadline` milliseconds have passed. */
export async function connectQmp(
  path: string,
  deadline = ANSWER_DEADLINE,
  alive: () => boolean = () => true,
): Promise<QmpClient> {
  const end = Date.now() + deadline;
  for (;;) {
    const stream = await tryConnect(path);
    if (stream) return QmpClient.open(stream, Math.max(1, end - Date.now()));
    if (!alive() || Date.now() >= end) throw new MachineError('qmp-lost', `no QMP at ${path}`, { given: path });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const tryConnect = (path: string): Promise<Duplex | null> =>
  new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(null));
  });

function dispatchLines(stream: Duplex, pending: Map<number, Pending>, listeners: Set<(event: QmpEvent) => void>): void {
  const fail = (): void => {
    for (const waiting of pending.values()) waiting.reject(lost(waiting.command));
  };
  stream.on('error', fail);
  stream.on('close', fail);
  eachLine(stream, (line) => dispatch(parse(line), pending, listeners));
}

function parse(line: string): Message {
  try {
    return JSON.parse(line) as Message;
  } catch {
    return {};
  }
}

function dispatch(message: Message, pending: Map<number, Pending>, listeners: Set<(event: QmpEvent) => void>): void {
  if (message.event !== undefined) {
    for (const listener of listeners) listener({ event: message.event, data: message.data });
    return;
  }
  const waiting = pending.get(message.QMP ? 0 : (message.id ?? -1));
  if (!waiting) return;
  if (message.QMP) waiting.resolve(message);
  else if (message.error) waiting.reject(new QmpCommandError(waiting.command, message.error.class, message.error.desc));
  else waiting.resolve(message.return);
}

const lost = (command: string): MachineError =>
  new MachineError('qmp-lost', `QMP ${command}: QEMU closed the connection`, { given: command });

async function within<T>(work: Promise<T>, deadline: number, what: string, late: () => void = () => {}): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      late();
      reject(new MachineError('qmp-deadline', `QMP ${what}: no answer in ${deadline} ms`, { given: what }));
    }, deadline);
  });
  return Promise.race([work, expired]).finally(() => clearTimeout(timer));
}
