/** The runner's side of the switchboard: each conversation with a lab host as a duplex of its own. */
import { Duplex } from 'node:stream';
import { MachineError } from '../../../corpora/errors.js';
import { eachLine } from '../../packages/lines.js';
import { formatLine, type Opening, parseLine, type SwitchboardHello, type SwitchboardLine } from './switchboard.js';

/** Bytes of a socket that one line carries. */
const CHUNK = 48 * 1024;

/** One conversation: an agent's lines, or a socket's bytes. It ends (`close`) when the other side ends or the host is lost. */
export class Conversation extends Duplex {
  readonly #number: number;
  readonly #lines: boolean;
  readonly #send: (line: SwitchboardLine) => void;
  #ended = false;
  #partial = '';
  /** What the other side wrote on stderr at its end. */
  words = '';

  constructor(number: number, opening: Opening, send: (line: SwitchboardLine) => void) {
    super({ allowHalfOpen: true, autoDestroy: false });
    this.#number = number;
    this.#lines = opening.kind === 'agent';
    this.#send = send;
    send({ number, open: opening });
  }

  /** Takes a line of the host. */
  accept(data: string): void {
    if (!this.destroyed) this.push(this.#lines ? `${data}\n` : Buffer.from(data, 'base64'));
  }

  /** The other side has ended: what was read before still arrives. */
  finish(words: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.words = words;
    if (!this.destroyed) this.push(null);
    this.emit('ended');
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Ends the other side (an agent is killed, a socket closed after its bytes); resolves when it has. */
  async hangUp(deadline: number): Promise<void> {
    if (this.#ended) return;
    await new Promise<void>((resolve, reject) => {
      const late = (): void =>
        reject(new MachineError('lab-host-silent', `the lab host did not answer within ${deadline} ms`));
      const timer = setTimeout(late, deadline);
      this.once('ended', () => {
        clearTimeout(timer);
        resolve();
      });
      this.#send({ number: this.#number, end: { words: '' } });
    });
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#lines) this.#writeLines(chunk.toString('utf8'));
    else
      for (let at = 0; at < chunk.length; at += CHUNK) {
        this.#send({ number: this.#number, data: chunk.subarray(at, at + CHUNK).toString('base64') });
      }
    done();
  }

  #writeLines(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop()!;
    for (const data of lines) this.#send({ number: this.#number, data });
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#ended) this.#send({ number: this.#number, end: { words: '' } });
    done(error);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (!this.#ended && !this.#lines) this.#send({ number: this.#number, end: { words: '' } });
    done();
  }
}

/** All conversations over one stream. */
export class Switchboard {
  readonly #stream: Duplex;
  readonly #open = new Map<number, Conversation>();
  #next = 1;
  #lost = false;
  /** The host's hello; pending for ever where the host is lost before it. */
  readonly hello: Promise<SwitchboardHello>;

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.hello = new Promise((resolve) => eachLine(stream, (line) => this.#accept(line, resolve)));
    stream.on('error', () => {});
  }

  /** Begins a conversation. On a lost host it ends at once. */
  open(opening: Opening): Conversation {
    const number = this.#next++;
    const conversation = new Conversation(number, opening, (line) => {
      if (!this.#lost) this.#stream.write(formatLine(line));
    });
    if (this.#lost) conversation.finish('');
    else this.#open.set(number, conversation);
    return conversation;
  }

  #accept(text: string, greet: (hello: SwitchboardHello) => void): void {
    if (text.startsWith('{"switchboard":')) {
      greet(JSON.parse(text) as SwitchboardHello);
      return;
    }
    const line = parseLine(text);
    const conversation = this.#open.get(line.number);
    if (!conversation) return;
    if ('data' in line) conversation.accept(line.data);
    else if ('end' in line) {
      this.#open.delete(line.number);
      conversation.finish(line.end.words);
    }
  }

  /** The host has ended: ends all conversations. */
  lose(): void {
    this.#lost = true;
    for (const conversation of this.#open.values()) conversation.finish('');
    this.#open.clear();
  }
}
