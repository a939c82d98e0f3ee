import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { createServer, connect as netConnect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import t from 'tap';
import { shortFolder } from '../../corpora/short-folder.js';
import { MAGIC } from '../snapshot/container.js';
import { readTlsFolder } from './tls.js';
import { makeTlsFolder } from './tls-fixture.js';
import { connectMigration, listenForMigration, type TransportOptions } from './transport.js';
import { parseMigrationUri } from './uri.js';

const noOpenssl = { skip: spawnSync('openssl', ['version']).status !== 0 && 'no openssl to make certificates with' };

/** What a source begins with, and an answer. */
async function talk(one: Duplex, other: Duplex): Promise<string> {
  const [there] = (await once(other.resume(), 'data')) as [Buffer];
  other.write('b');
  const [back] = (await once(one, 'data')) as [Buffer];
  for (const side of [one, other]) side.on('error', () => undefined).destroy();
  return `${there.toString()}${back.toString()}`;
}

async function throughBoth(uri: string, source: TransportOptions = {}, destination: TransportOptions = {}) {
  const listening = await listenForMigration(uri, { deadlineMs: 5000, ...destination });
  const [one, other] = await Promise.all([
    connectMigration(listening.uri, { deadlineMs: 5000, ...source }).then((link) => {
      link.on('error', () => undefined).write(MAGIC);
      return link;
    }),
    listening.connection,
  ]);
  return talk(one, other);
}

void t.test('unix and tcp sockets carry both ways', async (t) => {
  const path = join(shortFolder(t), 'a.sock');
  t.equal(await throughBoth(`unix:${path}`), 'guestabib');
  t.notOk(existsSync(path), 'the socket file is gone');
  t.equal(await throughBoth('tcp:127.0.0.1:0'), 'guestabib');
});

void t.test('an inherited socket and a command carry both ways', async (t) => {
  const path = join(shortFolder(t), 'a.sock');
  const server = createServer().listen(path);
  await once(server, 'listening');
  const far = netConnect(path);
  const [near] = (await once(server, 'connection')) as [Socket];
  server.close();
  const script = `
    const { listenForMigration } = await import(${JSON.stringify(new URL('transport.js', import.meta.url).href)});
    const link = await (await listenForMigration('fd:3')).connection;
    link.once('data', (bytes) => link.end(bytes.toString().toUpperCase()));`;
  const command = [process.execPath, '--input-type=module', '-e', script];
  spawn('env', ['-u', 'NODE_OPTIONS', ...command], { stdio: ['ignore', 'inherit', 'inherit', near] });
  far.write('a');
  t.equal(String((await once(far, 'data'))[0]), 'A');
  far.destroy();
  near.destroy();
  const cat = await connectMigration('exec:cat');
  cat.write('x');
  t.equal(String((await once(cat, 'data'))[0]), 'x');
  cat.destroy();
});

void t.test('what is no socket, and no URI, is refused by name', async (t) => {
  t.throws(() => parseMigrationUri('tpc:host:1'), { code: 'bad-migration-uri', exitCode: 2 });
  for (const bad of [
    '',
    'unix:',
    `unix:${'x'.repeat(108)}`,
    'tcp:host',
    'tcp:host:70000',
    'fd:x',
    'exec: ',
    'rdma:a:1',
  ])
    t.throws(() => parseMigrationUri(bad), { code: 'bad-migration-uri' }, bad);
  t.match(parseMigrationUri('tcp:[::1]:44'), { host: '::1', port: 44 });
  await t.rejects(connectMigration('fd:4321'), { code: 'bad-migration-uri' });
  await t.rejects(listenForMigration('fd:1', { tls: {} as never }), { code: 'bad-migration-uri', message: /TLS goes/ });
});

void t.test('nobody there, nobody coming, and a path that cannot be', async (t) => {
  const folder = shortFolder(t);
  await t.rejects(connectMigration(`unix:${join(folder, 'none')}`), { code: 'migration-link', exitCode: 3 });
  const { connection } = await listenForMigration(`unix:${join(folder, 'a')}`, { deadlineMs: 50 });
  await t.rejects(connection, { code: 'migration-link', message: /no migration came/ });
  await t.rejects(listenForMigration(`unix:${join(folder, 'b/c')}`), {
    code: 'migration-link',
    message: /cannot listen/,
  });
});

void t.test('strangers use up nothing: the destination waits on for a stream', async (t) => {
  const path = join(shortFolder(t), 'a.sock');
  const listening = await listenForMigration(`unix:${path}`, { deadlineMs: 10_000 });
  const strangers = ['', 'GET / HTTP/1.0\r\n\r\n', 'guest', 'guestABI', '\0'.repeat(100_000)].map((said) => {
    const stranger = netConnect(path)
      .on('error', () => undefined)
      .resume();
    return new Promise((resolve) => stranger.on('close', resolve).end(said));
  });
  await Promise.all(strangers);
  // They say nothing, and stay, until too many wait.
  const [first, ...others] = Array.from({ length: 17 }, () =>
    netConnect(path)
      .on('error', () => undefined)
      .resume(),
  );
  await once(first!, 'close');
  const source = netConnect(path);
  source.write(MAGIC.subarray(0, 3));
  setImmediate(() => source.write(Buffer.concat([MAGIC.subarray(3), Buffer.from('more')])));
  const link = await listening.connection;
  t.equal(String((await once(link.resume(), 'data'))[0]), 'guestabimore');
  await Promise.all(others.map(async (silent) => silent.closed || once(silent, 'close')));
  link.destroy();
  source.destroy();
});

void t.test('the socket file of a process that died is taken over, that of a living one is not', async (t) => {
  const uri = `unix:${join(shortFolder(t), 'a.sock')}`;
  const script = `require('net').createServer().listen(${JSON.stringify(uri.slice(5))}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script], { env: {} });
  t.ok(existsSync(uri.slice(5)), 'it is there');
  t.equal(await throughBoth(uri), 'guestabib');
  const living = await listenForMigration(uri);
  await t.rejects(listenForMigration(uri), { code: 'migration-link', message: /EADDRINUSE/ });
  living.close();
});

void t.test('over TLS both sides must show a certificate of the one CA', noOpenssl, async (t) => {
  const folder = shortFolder(t);
  const [ours, others] = ['ours', 'others'].map((name) => join(folder, name)) as [string, string];
  for (const made of [ours, others]) {
    mkdirSync(made);
    makeTlsFolder(made);
  }
  const side = (made: string, endpoint: 'client' | 'server'): TransportOptions => ({
    tls: readTlsFolder(made, endpoint),
  });
  const uri = 'tcp:localhost:0';
  t.equal(await throughBoth(uri, side(ours, 'client'), side(ours, 'server')), 'guestabib');
  for (const [source, destination] of [
    [side(others, 'client'), side(ours, 'server')],
    [side(ours, 'client'), side(others, 'server')],
    [{ ...side(ours, 'client'), tlsHostname: 'elsewhere' }, side(ours, 'server')],
  ] as const)
    await t.rejects(throughBoth(uri, source, { ...destination, deadlineMs: 500 }), { code: 'migration-link' });
  t.throws(() => readTlsFolder(folder, 'client'), { code: 'unreadable-file', exitCode: 2 });
});
