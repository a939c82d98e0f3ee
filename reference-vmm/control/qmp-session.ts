/** One client of the QMP server: greeting, capabilities, then commands one after the other. */
import { GuestAbiError } from '../../corpora/errors.js';
import { JsonStream } from './json-stream.js';
import { checkArguments, type Shape } from './qmp-arguments.js';
import type { QmpCommands } from './qmp-command.js';
import { QmpError } from './qmp-error.js';

/** Longest message of a client, in characters: its longest argument is a CPU model with all properties. */
const MESSAGE_LIMIT = 1024 * 1024;
const MEMBERS = new Set(['execute', 'arguments', 'id']);

/** What `qmp_capabilities` takes. */
export const NEGOTIATION: Shape = { 'enable?': { list: { enum: ['oob'] } } };

export interface QmpVersion {
  readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number };
  readonly package: string;
}

export class QmpSession {
  readonly #commands: () => QmpCommands;
  readonly #write: (text: string) => void;
  readonly #stream = new JsonStream(MESSAGE_LIMIT);
  #negotiated = false;
  #busy: Promise<void> = Promise.resolve();

  /** Greets. `commands` are asked for at each message; `write` takes whole messages. */
  constructor(version: QmpVersion, commands: () => QmpCommands, write: (text: string) => void) {
    this.#commands = commands;
    this.#write = write;
    this.#send({ QMP: { version, capabilities: [] } });
  }

  /** Takes what the client sent. False where the client is to be cut off. */
  receive(text: string): boolean {
    try {
      for (const value of this.#stream.push(text)) this.#busy = this.#busy.then(() => this.#answer(value));
      return true;
    } catch (error) {
      this.#fail(new QmpError((error as Error).message), undefined);
      return false;
    }
  }

  /** Tells an event, once capabilities are negotiated. */
  event(event: string, data: object | undefined, now: number): void {
    if (!this.#negotiated) return;
    const timestamp = { seconds: Math.floor(now / 1000), microseconds: Math.floor((now % 1000) * 1000) };
    this.#send({ timestamp, event, ...(data === undefined ? {} : { data }) });
  }

  async #answer(text: string): Promise<void> {
    let id: unknown;
    try {
      const message = parse(text);
      id = message.id;
      const done = (await this.#execute(message)) ?? {};
      this.#send({ return: done, ...(id === undefined ? {} : { id }) });
    } catch (error) {
      if (error instanceof QmpError) this.#fail(error, id);
      else if (error instanceof GuestAbiError) this.#fail(new QmpError(error.message), id);
      // An error of ours must end neither the session nor the guest.
      else this.#fail(new QmpError(`internal error: ${error instanceof Error ? error.message : String(error)}`), id);
    }
  }

  #execute(message: Readonly<Record<string, unknown>>): unknown {
    const { name, given } = readMessage(message);
    if (name === 'qmp_capabilities') return this.#negotiate(given);
    if (!this.#negotiated)
      throw new QmpError("Expecting capabilities negotiation with 'qmp_capabilities'", 'CommandNotFound');
    const commands = this.#commands();
    const found = Object.hasOwn(commands, name) ? commands[name] : undefined;
    if (!found) throw new QmpError(`The command ${name} has not been found`, 'CommandNotFound');
    checkArguments(given, found.takes);
    return found.run(given as never);
  }

  #negotiate(given: Readonly<Record<string, unknown>>): void {
    if (this.#negotiated)
      throw new QmpError('Capabilities negotiation is already complete, command ignored', 'CommandNotFound');
    checkArguments(given, NEGOTIATION);
    if ((given.enable as unknown[] | undefined)?.length) throw new QmpError("Capability 'oob' is not available");
    this.#negotiated = true;
  }

  #fail({ message, qmpClass }: QmpError, id: unknown): void {
    this.#send({ error: { class: qmpClass, desc: message }, ...(id === undefined ? {} : { id }) });
  }

  #send(message: object): void {
    this.#write(`${JSON.stringify(message)}\r\n`);
  }
}

function parse(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new QmpError(`JSON parse error, ${(error as Error).message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new QmpError('QMP input must be a JSON object');
  return value as Record<string, unknown>;
}

/** The errors of QEMU's qmp_dispatch_check_obj (qapi/qmp-dispatch.c). */
function readMessage(message: Readonly<Record<string, unknown>>): { name: string; given: Record<string, unknown> } {
  for (const member of Object.keys(message))
    if (!MEMBERS.has(member)) throw new QmpError(`QMP input member '${member}' is unexpected`);
  const { execute: name, arguments: given = {} } = message;
  if (name === undefined) throw new QmpError("QMP input lacks member 'execute'");
  if (typeof name !== 'string') throw new QmpError("QMP input member 'execute' must be a string");
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw new QmpError("QMP input member 'arguments' must be an object");
  return { name, given: given as Record<string, unknown> };
}
