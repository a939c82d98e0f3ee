/** An agent in a child process of ours, spoken to over its pipes. */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { endsWithUs } from '../ends-with-us.js';
import { AgentClient } from './agent/client.js';
import type { AgentSession } from './host.js';

const HELLO_DEADLINE_MS = 90_000;
/** Characters of stderr kept for messages. */
const TAIL = 2000;

/** A child with pipes on all three. */
export interface Child {
  readonly process: ChildProcessWithoutNullStreams;
  /** What it said last on stderr, or why it could not be started. */
  readonly lastWords: () => string;
}

/** Starts `command` apart from our terminal: whoever interrupts the runner there does not interrupt what its cells stand on. */
export function startChild([file, ...args]: readonly string[]): Child {
  const child = spawn(file!, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  endsWithUs(child, 'SIGTERM');
  let lastWords = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    lastWords = (lastWords + text).slice(-TAIL);
  });
  child.on('error', (error) => {
    lastWords = error.message;
  });
  child.stdin.on('error', () => {});
  return { process: child, lastWords: () => lastWords };
}

/**
 * True where an interrupt of our terminal ended the child all the same: from its fork until it has left our process group it gets what we
 * get, and dies of it. It is then started once more; a second interrupt ends us too.
 */
export const caughtInterrupt = (child: ChildProcess): boolean => child.signalCode === 'SIGINT';

/** Starts `command` and waits for the agent's hello; `socket` reaches the sockets of its host. What the child says on stderr is kept for errors. */
export async function openChildAgent(
  command: readonly string[],
  socket: AgentSession['socket'],
  again = true,
): Promise<AgentSession> {
  const { process: child, lastWords } = startChild(command);
  const end = () => endChild(child);
  try {
    const agent = await AgentClient.connect(untilClosed(child), child.stdin, HELLO_DEADLINE_MS, lastWords);
    return { agent, socket, [Symbol.asyncDispose]: end };
  } catch (error) {
    await end();
    if (again && caughtInterrupt(child)) return openChildAgent(command, socket, false);
    throw error;
  }
}

/** The child's stdout, which ends once its stderr has too: who sees the end can tell the last words. */
function untilClosed(child: ChildProcessWithoutNullStreams): PassThrough {
  const output = child.stdout.pipe(new PassThrough(), { end: false });
  child.once('close', () => output.end());
  return output;
}

/** Closes the child's input, which ends what we start; kills what does not end by itself within a second. */
export async function endChild(child: ChildProcessWithoutNullStreams): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, 'exit');
  child.stdin.end();
  const timer = setTimeout(() => child.kill('SIGKILL'), 1000);
  await ended;
  clearTimeout(timer);
}
