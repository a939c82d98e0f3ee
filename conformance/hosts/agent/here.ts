/** An agent in this process, over the same protocol as any other: for hosts that need no process of their own. */
import { PassThrough } from 'node:stream';
import type { AgentSession } from '../host.js';
import { AgentClient } from './client.js';
import { type Handlers, serveAgent } from './server.js';

const HELLO_DEADLINE_MS = 5000;

/** `handlers` are disposed with the session, where they can be. */
export async function openAgentHere(
  handlers: Handlers & Partial<Disposable>,
  socket: AgentSession['socket'],
): Promise<AgentSession> {
  const [toAgent, fromAgent] = [new PassThrough(), new PassThrough()];
  const served = serveAgent(toAgent, fromAgent, handlers);
  const agent = await AgentClient.connect(fromAgent, toAgent, HELLO_DEADLINE_MS);
  return {
    ...{ agent, socket },
    [Symbol.asyncDispose]: async () => {
      toAgent.end();
      await served;
      handlers[Symbol.dispose]?.();
    },
  };
}
