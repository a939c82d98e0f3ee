/** An agent in a child process of ours, spoken to over its pipes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { AgentClient } from './agent/client.js';
import type { AgentSession } from './host.js';

const HELLO_DEADLINE_MS = 20_000;
/** Bytes of stderr kept for messages. */
const TAIL = 2000;

/** Starts `command` and waits for the agent's hello; `socket` reaches the sockets of its host. What the child says on stderr is kept for errors. */
export async function openChildAgent(
  command: readonly string[],
  socket: AgentSession['socket'],
): Promise<AgentSession & { readonly lastWords: () => string }> {
  const [file, ...args] = command;
  const child = spawn(file!, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let lastWords = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    lastWords = (lastWords + text).slice(-TAIL);
  });
  child.on('error', (error) => child.stdout.destroy(error));
  const end = () => endChild(child);
  try {
    const agent = await AgentClient.connect(child.stdout, child.stdin, HELLO_DEADLINE_MS, () => lastWords);
    return { agent, socket, lastWords: () => lastWords, [Symbol.asyncDispose]: end };
  } catch (error) {
    await end();
    throw error;
  }
}

/** Closes the child's input, which ends an agent; kills what does not end by itself within a second. */
async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, 'exit');
  child.stdin?.end();
  const timer = setTimeout(() => child.kill('SIGKILL'), 1000);
  await ended;
  clearTimeout(timer);
}
