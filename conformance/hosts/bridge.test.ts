/** Tests of joining unix sockets, with two "hosts" on this machine that use different paths for one name. */
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import tap from 'tap';
import { shortFolder } from '../../corpora/short-folder.js';
import { bridgeSockets, localSocket } from './bridge.js';
import type { AgentSession } from './host.js';

/** A session whose host's files stand below `folder`. */
const sessionIn = (folder: string): AgentSession =>
  ({ socket: (kind, path) => localSocket(kind, join(folder, path)) }) as AgentSession;

void tap.test('bytes go both ways, and the end of one side reaches the other', async (t) => {
  const folder = shortFolder(t);
  const [a, b] = [join(folder, 'a'), join(folder, 'b')];
  for (const path of [a, b]) mkdirSync(path);
  const seen: Buffer[] = [];
  const server = createServer((socket) => {
    socket.write('welcome');
    socket.on('data', (bytes) => seen.push(bytes));
    socket.on('end', () => server.close());
  });
  await new Promise<void>((resolve) => server.listen(join(b, 'link'), resolve));
  const bridge = await bridgeSockets(sessionIn(a), sessionIn(b), 'link');
  const client = connect(join(a, bridge.path));
  t.equal(String((await once(client, 'data'))[0]), 'welcome');
  const bytes = Buffer.alloc(3_000_000, 'guest memory ');
  client.end(bytes);
  await once(server, 'close');
  t.ok(Buffer.concat(seen).equals(bytes));
  await bridge[Symbol.asyncDispose]();
});

void tap.test("a destination that dies with bytes unread ends the source's side", async (t) => {
  const folder = shortFolder(t);
  const [a, b] = [join(folder, 'a'), join(folder, 'b')];
  for (const path of [a, b]) mkdirSync(path);
  const server = createServer({ pauseOnConnect: true }, (socket) => setTimeout(() => socket.destroy(), 100));
  await new Promise<void>((resolve) => server.listen(join(b, 'link'), resolve));
  const bridge = await bridgeSockets(sessionIn(a), sessionIn(b), 'link');
  const client = connect(join(a, bridge.path)).resume();
  client.write('offer');
  await once(client, 'end', { signal: AbortSignal.timeout(5000) });
  await bridge[Symbol.asyncDispose]();
  server.close();
  t.pass('ended');
});

void tap.test('a bridge that nobody used leaves nothing', async (t) => {
  const folder = shortFolder(t);
  const [a, b] = [join(folder, 'a'), join(folder, 'b')];
  for (const path of [a, b]) mkdirSync(path);
  const server = createServer((socket) => socket.on('error', () => {}));
  await new Promise<void>((resolve) => server.listen(join(b, 'link'), resolve));
  const bridge = await bridgeSockets(sessionIn(a), sessionIn(b), 'link');
  await bridge[Symbol.asyncDispose]();
  const refused = connect(join(a, bridge.path));
  const [error] = await once(refused, 'error');
  t.match((error as NodeJS.ErrnoException).code, /ENOENT|ECONNREFUSED/);
  server.close();
});
