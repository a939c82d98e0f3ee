/** One side of a migration's link: a stream of sections each way, each checked before it is used, with a deadline on every wait. */
import type { Duplex } from 'node:stream';
import { MachineError } from '../../corpora/errors.js';
import {
  Checksum,
  ContainerError,
  type ContainerKind,
  checkStreamHeader,
  encodeHeader,
  HEADER_BYTES,
  SECTION_HEADER_BYTES,
  type Section,
} from '../snapshot/container.js';
import { limitOf, messageName } from './messages.js';

/** What may wait here unread; the peer then waits. */
const READ_AHEAD = 1024 * 1024;

const KINDS = {
  source: ['migration stream', 'migration return path'],
  destination: ['migration return path', 'migration stream'],
} as const satisfies Record<string, readonly [sends: ContainerKind, receives: ContainerKind]>;

export class Link {
  /** For messages. */
  readonly name: string;
  readonly #duplex: Duplex;
  readonly #receives: ContainerKind;
  readonly #header: Buffer;
  readonly #outgoing: Checksum;
  #incoming: Checksum | null = null;
  #headerSent = false;
  #chunks: Buffer[] = [];
  #unread = 0;
  /** Why nothing more will be read. */
  #ended: string | null = null;
  /** Why the link may not be used any more. */
  #aborted: Error | null = null;
  #wake: () => void = () => undefined;
  /** Those who wait; each is told when the link is aborted. */
  readonly #waiting = new Set<(error: Error) => void>();

  /** Takes over `duplex`; `name` is what the user calls it. */
  constructor(duplex: Duplex, name: string, side: keyof typeof KINDS) {
    this.name = name;
    this.#duplex = duplex;
    const [sends, receives] = KINDS[side];
    this.#receives = receives;
    this.#header = encodeHeader(sends, 0);
    this.#outgoing = new Checksum(this.#header);
    const end = (why: string) => () => {
      this.#ended ??= why;
      this.#wake();
    };
    duplex
      .on('data', (chunk: Buffer) => {
        this.#chunks.push(chunk);
        this.#unread += chunk.length;
        if (this.#unread > READ_AHEAD) duplex.pause();
        this.#wake();
      })
      .on('end', end('ended early'))
      .on('close', end('ended early'))
      .on('error', (error: Error) => end(error.message)());
  }

  /** Resolves once all bytes are with the kernel. Throws `MachineError` `migration-link` where the link broke, or took too long. */
  async send(type: number, payload: Uint8Array, deadlineMs: number): Promise<void> {
    const pieces = [this.#outgoing.seal(type, payload), payload];
    if (!this.#headerSent) pieces.unshift(this.#header);
    this.#headerSent = true;
    await this.#wait(deadlineMs, (done) => {
      this.#duplex.cork();
      pieces.forEach((piece, i) => {
        this.#duplex.write(piece, (error) => {
          if (error) done(this.#broke(error.message));
          else if (i === pieces.length - 1) done();
        });
      });
      this.#duplex.uncork();
    });
  }

  /**
   * The next section, which must be of one of these types; the link may be silent for `deadlineMs`. Throws `ContainerError` on anything
   * else, or `MachineError` `migration-link` where the link ends or is silent.
   */
  async receive(types: readonly number[], deadlineMs: number): Promise<Section> {
    this.#incoming ??= await this.#receiveHeader(deadlineMs);
    const header = await this.#take(SECTION_HEADER_BYTES, deadlineMs);
    const type = header.readUInt32LE(0);
    const length = header.readBigUInt64LE(8);
    const wanted = types.map(messageName).join(' or ');
    if (!types.includes(type)) throw new ContainerError(this.name, `${messageName(type)} where ${wanted} must stand`);
    if (length > limitOf(type))
      throw new ContainerError(
        this.name,
        `${messageName(type)} claims ${length} bytes, allowed are at most ${limitOf(type)}`,
      );
    const payload = await this.#take(Number(length), deadlineMs);
    if (!this.#incoming.holds(header, payload))
      throw new ContainerError(this.name, `checksum of ${messageName(type)} does not match`);
    return { type, payload };
  }

  /** Waits, unless the link is aborted meanwhile. */
  rest(ms: number): Promise<void> {
    return this.#wait(2 * ms + 1000, (done) => setTimeout(done, ms));
  }

  async #receiveHeader(deadlineMs: number): Promise<Checksum> {
    const header = await this.#take(HEADER_BYTES, deadlineMs);
    checkStreamHeader(header, this.#receives, this.name);
    return new Checksum(header);
  }

  async #take(length: number, deadlineMs: number): Promise<Buffer> {
    while (this.#unread < length) {
      if (this.#ended) throw this.#broke(this.#ended);
      this.#duplex.resume();
      await this.#wait(deadlineMs, (done) => {
        this.#wake = done;
      });
    }
    const [first] = this.#chunks;
    if (first && first.length === length) {
      this.#chunks.shift();
      this.#unread -= length;
      return first;
    }
    return this.#assemble(length);
  }

  #assemble(length: number): Buffer {
    const taken = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const chunk = this.#chunks[0]!;
      const count = chunk.copy(taken, done, 0, length - done);
      done += count;
      if (count === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(count);
    }
    this.#unread -= length;
    return taken;
  }

  #wait(deadlineMs: number, begin: (done: (error?: Error) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (error?: Error): void => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        if (error) reject(error);
        else resolve();
      };
      const timer = setTimeout(() => done(this.#broke(`silent for ${deadlineMs} ms`)), deadlineMs);
      this.#waiting.add(done);
      if (this.#aborted) done(this.#aborted);
      else begin(done);
    });
  }

  /** Cuts the link; whoever waits on it is given `error`. */
  abort(error: Error): void {
    this.#aborted ??= error;
    for (const tell of [...this.#waiting]) tell(error);
    this.#duplex.destroy();
  }

  /** Lets what was sent arrive, then closes. */
  close(): void {
    this.#duplex.end();
    this.#duplex.resume();
    setTimeout(() => this.#duplex.destroy(), LINGER_MS).unref();
  }

  #broke(why: string): MachineError {
    return new MachineError('migration-link', `migration over ${this.name}: link ${why}`, { given: this.name });
  }
}

/** How long a closed link may still deliver. */
const LINGER_MS = 1000;
