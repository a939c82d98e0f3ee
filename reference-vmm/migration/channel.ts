/** Containers over a socket: one whole, checked container at a time. */
import type { Socket } from 'node:net';
import { MachineError } from '../../corpora/errors.js';
import type { Reason } from '../../corpora/verdict.js';
import {
  type ContainerKind,
  containerLength,
  decodeContainer,
  encodeContainer,
  HEADER_BYTES,
  type Section,
} from '../snapshot/container.js';
import { CONTAINER_LIMIT } from '../snapshot/file.js';

const REPLY = 1;

/** The destination's answer to an offer or a state: no reasons = yes. */
export type Reply = readonly Reason[];

/** One side of a migration. */
export class Channel {
  readonly #socket: Socket;
  readonly #name: string;
  readonly #chunks: AsyncIterator<Buffer>;
  #pending: Buffer = Buffer.alloc(0);

  constructor(socket: Socket, name: string) {
    this.#socket = socket;
    this.#name = name;
    // A broken link shows at the next read or write; without a listener it would end the process.
    socket.on('error', () => undefined);
    this.#chunks = (socket as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  }

  /** Resolves once all bytes are with the kernel. Throws `MachineError` `migration-link` where the link broke. */
  async send(kind: ContainerKind, sections: readonly Section[]): Promise<void> {
    for (const piece of encodeContainer(kind, sections))
      await new Promise<void>((resolve, reject) =>
        this.#socket.write(piece, (error) => (error ? reject(this.#broke(error.message)) : resolve())),
      );
  }

  /** The next container, wholly checked. Throws `ContainerError`, or `MachineError` `migration-link` where the link ends or is silent. */
  async receive(kind: ContainerKind, deadlineMs: number): Promise<Section[]> {
    const until = performance.now() + deadlineMs;
    const header = await this.#take(HEADER_BYTES, until);
    const length = containerLength(header, kind, this.#name, CONTAINER_LIMIT);
    const rest = await this.#take(length - HEADER_BYTES, until);
    return decodeContainer(Buffer.concat([header, rest]), kind, this.#name);
  }

  reply(reasons: Reply): Promise<void> {
    return this.send('reply', [{ type: REPLY, payload: Buffer.from(JSON.stringify(reasons)) }]);
  }

  async receiveReply(deadlineMs: number): Promise<Reply> {
    const [section] = await this.receive('reply', deadlineMs);
    return JSON.parse(Buffer.from(section!.payload).toString('utf8')) as Reply;
  }

  close(): void {
    this.#socket.destroy();
  }

  async #take(length: number, until: number): Promise<Buffer> {
    const parts = [this.#pending];
    for (let have = this.#pending.length; have < length; ) {
      const chunk = await this.#next(until);
      parts.push(chunk);
      have += chunk.length;
    }
    const all = Buffer.concat(parts);
    this.#pending = all.subarray(length);
    return all.subarray(0, length);
  }

  async #next(until: number): Promise<Buffer> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(this.#broke('silent past its deadline')), until - performance.now());
    });
    try {
      const next = await Promise.race([this.#chunks.next(), late]);
      if (next.done) throw this.#broke('ended early');
      return next.value;
    } catch (error) {
      throw error instanceof MachineError ? error : this.#broke((error as Error).message);
    } finally {
      clearTimeout(timer);
    }
  }

  #broke(why: string): MachineError {
    return new MachineError('migration-link', `migration over ${this.#name}: link ${why}`, { given: this.#name });
  }
}
