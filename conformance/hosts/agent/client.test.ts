/** The runner's side of the protocol against agents that are other, silent, broken, or gone. */
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import t from 'tap';
import { PACKAGE_VERSION } from '../../version.js';
import { localSocket } from '../bridge.js';
import { openChildAgent } from '../child-agent.js';
import { AgentClient, AgentGone, AgentSilent } from './client.js';
import { AGENT_SCHEMA, MAX_LINE } from './lines.js';
import { type Handlers, serveAgent } from './server.js';

const hello = (version = PACKAGE_VERSION): string => `${JSON.stringify({ schema: AGENT_SCHEMA, version })}\n`;

/** A client of an agent that answers each request line by `answer`. */
async function clientOf(answer: (request: { id: number; op: string }) => string, lastWords = ''): Promise<AgentClient> {
  const [toAgent, fromAgent] = [new PassThrough(), new PassThrough()];
  toAgent.setEncoding('utf8').on('data', (line: string) => {
    const reply = answer(JSON.parse(line) as { id: number; op: string });
    if (reply === 'gone') fromAgent.end();
    else fromAgent.write(reply);
  });
  fromAgent.write(hello());
  return AgentClient.connect(fromAgent, toAgent, 1000, () => lastWords);
}

void t.test('an agent of another version is refused, naming both', async (t) => {
  const script = `console.log(${JSON.stringify(hello('9.9.9').trim())}); process.stdin.resume();`;
  await t.rejects(openChildAgent([process.execPath, '-e', script], localSocket), {
    ...{ code: 'agent-version', exitCode: 3, given: '9.9.9', nearest: [PACKAGE_VERSION] },
    message: new RegExp(`runs guest-abi 9\\.9\\.9, this is ${PACKAGE_VERSION}`),
  });
});

void t.test('what comes before the hello is passed over; an agent that never says it is given up', async (t) => {
  const from = new PassThrough();
  from.write(`[    0.1] Linux version\n{"schema":"other"}\n${hello()}`);
  t.ok(await AgentClient.connect(from, new PassThrough(), 1000));
  const start = performance.now();
  await t.rejects(AgentClient.connect(new PassThrough(), new PassThrough(), 50), AgentSilent);
  t.ok(performance.now() - start < 2000);
});

void t.test('a program that is no agent, or none at all, is told with its last words', async (t) => {
  const script = `console.error('no libc here'); process.exit(1);`;
  await t.rejects(openChildAgent([process.execPath, '-e', script], localSocket), {
    ...{ code: 'agent-gone', message: /host ended during 'hello'; its last words: no libc here/ },
  });
  await t.rejects(openChildAgent(['/no/such/program'], localSocket), { code: 'agent-gone', message: /ENOENT/ });
});

void t.test(
  'an agent that an interrupt of the terminal ended before it left our process group is started once more',
  async (t) => {
    const started = join(t.testdir(), 'started');
    const script = (times: number): string =>
      `echo >>${started}; [ $(wc -l <${started}) -le ${times} ] && kill -INT $$; echo '${hello().trim()}'; exec cat`;
    await using session = await openChildAgent(['sh', '-c', script(1)], localSocket);
    t.ok(session.agent);
    await t.rejects(openChildAgent(['sh', '-c', script(9)], localSocket), { code: 'agent-gone' }, 'once');
  },
);

void t.test('an agent that ends under a request is gone, and so is every later request', async (t) => {
  const client = await clientOf(() => 'gone', 'Killed');
  await t.rejects(client.call('close', {}), { ...{ code: 'agent-gone' }, message: /'close'; its last words: Killed/ });
  await t.rejects(client.call('close', {}), AgentGone);
});

void t.test('an agent that does not answer in time is silent, and never asked again', async (t) => {
  const client = await clientOf(() => '');
  const start = performance.now();
  await t.rejects(client.call('close', {}, 60), AgentSilent);
  t.ok(performance.now() - start < 2000);
  await t.rejects(client.call('close', {}), AgentGone);
});

void t.test('an answer that is none ends the conversation', async (t) => {
  const answers: Record<string, (request: { id: number }) => string> = {
    'no JSON': () => 'hello\n',
    'another id': ({ id }) => `${JSON.stringify({ id: id + 1, result: {} })}\n`,
    'a malformed result': ({ id }) => `${JSON.stringify({ id, result: { bytes: -1 } })}\n`,
    'an outcome of no kind': ({ id }) => `${JSON.stringify({ id, result: { kind: 'fine' } })}\n`,
  };
  for (const [name, answer] of Object.entries(answers)) {
    const client = await clientOf(answer);
    const asked: Promise<unknown> = name.includes('outcome')
      ? client.call('command', { command: 'dump' })
      : client.call('save', { file: 'x' });
    await t.rejects(asked, { code: 'agent-gone', message: /answer/ }, name);
  }
});

void t.test('a line without end is not gathered for ever', async (t) => {
  const client = await clientOf(() => 'x'.repeat(1 << 20).repeat(MAX_LINE / (1 << 20) + 1));
  await t.rejects(client.call('close', {}), { code: 'agent-line-too-long' });
});

void t.test('errors of the agent keep their code and exit code; requests are answered in order', async (t) => {
  const [toAgent, fromAgent] = [new PassThrough(), new PassThrough()];
  const asked: string[] = [];
  const served = serveAgent(toAgent, fromAgent, {
    save: ({ file }: { file: string }) => ({ bytes: asked.push(file) }),
    received: () => {
      throw new TypeError('a bug of the agent');
    },
    close: () => ({}),
  } as unknown as Handlers);
  const client = await AgentClient.connect(fromAgent, toAgent, 1000);
  const answers = await Promise.all(['a', 'b', 'c'].map((file) => client.call('save', { file })));
  t.same(
    answers.map(({ bytes }) => bytes),
    [1, 2, 3],
  );
  t.same(asked, ['a', 'b', 'c']);
  await t.rejects(client.call('received', {}), { code: 'agent-internal', exitCode: 3, message: /a bug of the agent/ });
  await t.rejects(client.call('fetch', { file: 'x' }), { code: 'unknown-operation', exitCode: 2 });
  t.same(await client.call('close', {}), {}, 'and it goes on');
  toAgent.end();
  await served;
});
