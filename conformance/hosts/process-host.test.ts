/** Agents of this machine between one cell and the next: each serves one cell at a time, and one that breaks as it ends its guest is told and not used again. */
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { AgentClient } from './agent/client.js';
import { localSocket } from './bridge.js';
import { type Child, endChild, startChild } from './child-agent.js';
import { ProcessHost } from './process-host.js';

const AGENT = fileURLToPath(import.meta.resolve('./agent/main.js'));

/** A host of real agents, whose processes we know. */
async function startHost() {
  const children: Child['process'][] = [];
  const lost: string[] = [];
  const host = await ProcessHost.start({
    id: 'here',
    onLost: (why) => lost.push(why),
    openAgent: async () => {
      const { process: child, lastWords } = startChild(['env', '-u', 'NODE_OPTIONS', process.execPath, AGENT]);
      children.push(child);
      const agent = await AgentClient.connect(child.stdout, child.stdin, 60_000, lastWords);
      return { agent, socket: localSocket, [Symbol.asyncDispose]: () => endChild(child) };
    },
  });
  return { host, children, lost };
}

void t.test('an agent that is killed before it ended its guest is told and not used again', needsKvm, async (t) => {
  const { host, children, lost } = await startHost();
  const session = await host.warm();
  children[0]!.kill('SIGKILL');
  await session[Symbol.asyncDispose]();
  const next = await host.warm();
  t.equal(children.length, 2, 'another one was started');
  t.match(lost, [/^here: an agent broke as it ended its guest: /]);
  await t.resolves(next.agent.call('close', {}));
  await next[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
  t.ok(children.every(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null));
});

void t.test('one that broke under its guest is in the verdict, and not told once more', needsKvm, async (t) => {
  const { host, children, lost } = await startHost();
  const session = await host.warm();
  children[0]!.kill('SIGKILL');
  await t.rejects(session.agent.call('command', { command: 'dump' }), { code: 'agent-gone' });
  await session[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
  t.same(lost, []);
});

void t.test('a session that is given back twice is one agent all the same', needsKvm, async (t) => {
  const { host, children } = await startHost();
  const session = await host.warm();
  await session[Symbol.asyncDispose]();
  await session[Symbol.asyncDispose]();
  const [one, other] = [await host.warm(), await host.warm()];
  t.not(one.agent, other.agent);
  t.equal(children.length, 2);
  await one[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
  t.ok(
    children.every(({ exitCode }) => exitCode !== null),
    'one that comes back late ends too',
  );
});
