/** The runner's side of the agent protocol, over any duplex of bytes. */
import type { Readable, Writable } from 'node:stream';
import { type ExitCode, GuestAbiError, MachineError } from '../../../corpora/errors.js';
import { PACKAGE_VERSION } from '../../version.js';
import { linesOf } from './lines.js';
import { helloSchema, OPERATIONS, type Operation, type Params, type Result, replySchema } from './protocol.js';

/**
 * Milliseconds for an answer: more than an agent gives its own parts, so that it says itself what was late. In an emulated host on a busy machine
 * the threads of a guest's vCPUs take 20 s to start.
 */
const ANSWER_DEADLINE_MS = 90_000;

/** The host ended, or said what no agent says: the guest on it is lost. */
export class AgentGone extends MachineError {
  constructor(message: string, cause?: unknown) {
    super('agent-gone', message, { cause });
  }
}

/** The host did not answer within the deadline. */
export class AgentSilent extends MachineError {
  constructor(op: string, deadlineMs: number) {
    super('agent-silent', `no answer to '${op}' within ${deadlineMs} ms`);
  }
}

/** One conversation with one agent. Requests are sent one at a time, in the order of the calls. */
export class AgentClient {
  readonly #lines: AsyncGenerator<string>;
  readonly #output: Writable;
  readonly #lastWords: () => string;
  #queue: Promise<unknown> = Promise.resolve();
  #nextId = 1;
  #broken: AgentGone | null = null;

  private constructor(input: Readable, output: Writable, lastWords: () => string) {
    this.#lines = linesOf(input);
    this.#output = output;
    this.#lastWords = lastWords;
    output.on('error', (error) => this.#break(`agent's stream broke: ${error.message}`, error));
  }

  /**
   * Waits for the agent's hello. Lines before it (a kernel's console on the same wire) are passed over.
   * `lastWords` gives what the host said beside the protocol (stderr, a console), for errors.
   * Throws `AgentSilent`, `AgentGone`, or `MachineError` `agent-version` where the other side is another version.
   */
  static async connect(
    input: Readable,
    output: Writable,
    deadlineMs: number,
    lastWords: () => string = () => '',
  ): Promise<AgentClient> {
    const client = new AgentClient(input, output, lastWords);
    for (;;) {
      const hello = helloSchema.safeParse(parseJson(await client.#readLine('hello', deadlineMs)));
      if (!hello.success) continue;
      if (hello.data.version !== PACKAGE_VERSION)
        throw new MachineError(
          'agent-version',
          `the host runs guest-abi ${hello.data.version}, this is ${PACKAGE_VERSION}: install the same version there`,
          { given: hello.data.version, nearest: [PACKAGE_VERSION] },
        );
      return client;
    }
  }

  /** True where nothing more will be answered: who asked last was told why. */
  get broken(): boolean {
    return this.#broken !== null;
  }

  /** Asks for one operation. Errors of the other side are thrown as `GuestAbiError` with their own code. */
  call<O extends Operation>(op: O, params: Params<O>, deadlineMs = ANSWER_DEADLINE_MS): Promise<Result<O>> {
    const turn = this.#queue.then(() => this.#exchange(op, params, deadlineMs));
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  async #exchange<O extends Operation>(op: O, params: Params<O>, deadlineMs: number): Promise<Result<O>> {
    if (this.#broken) throw this.#broken;
    const id = this.#nextId++;
    this.#output.write(`${JSON.stringify({ id, op, params })}\n`);
    const line = await this.#readLine(op, deadlineMs);
    const reply = replySchema.safeParse(parseJson(line));
    if (!reply.success || reply.data.id !== id) throw this.#break(`agent answered '${op}' with: ${line.slice(0, 200)}`);
    if ('error' in reply.data) {
      const { code, message, given, nearest, exitCode } = reply.data.error;
      throw new GuestAbiError(code, exitCode as ExitCode, message, { ...(given === null ? {} : { given }), nearest });
    }
    const result = OPERATIONS[op].result.safeParse(reply.data.result);
    if (!result.success)
      throw this.#break(`agent's answer to '${op}' is malformed: ${result.error.issues[0]?.message}`);
    return result.data as Result<O>;
  }

  async #readLine(op: string, deadlineMs: number): Promise<string> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new AgentSilent(op, deadlineMs)), deadlineMs);
    });
    try {
      const next = await Promise.race([this.#lines.next(), late]);
      if (next.done) throw this.#break(`host ended during '${op}'`);
      return next.value;
    } catch (error) {
      if (error instanceof AgentSilent) this.#break(error.message);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #break(message: string, cause?: unknown): AgentGone {
    const words = this.#lastWords().trim();
    this.#broken ??= new AgentGone(words ? `${message}; its last words: ${words}` : message, cause);
    return this.#broken;
  }
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
