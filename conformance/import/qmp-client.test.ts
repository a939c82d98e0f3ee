/** Tests of the QMP client against a scripted peer, and against every QEMU release that is in the cache. */
import { Duplex, PassThrough } from 'node:stream';
import t from 'tap';
import { cachedQemu, QEMU_RELEASES } from '../packages/qemu-trees.js';
import { QemuProcess } from './qemu-process.js';
import { QmpClient, QmpCommandError } from './qmp-client.js';

const GREETING = '{"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 13}}, "capabilities": []}}\r\n';

/** A QMP peer: answers each line with what `answer` gives for it. */
function peer(answer: (message: { execute: string; id: number }) => string): Duplex {
  const toClient = new PassThrough();
  const toServer = new PassThrough();
  toClient.write(GREETING);
  toServer.on('data', (line) => toClient.write(answer(JSON.parse(String(line)))));
  const duplex = Duplex.from({ readable: toClient, writable: toServer });
  duplex.once('close', () => toServer.destroy());
  return duplex;
}

void t.test('answers go to their commands, events to their listeners, errors keep their class', async (t) => {
  const client = await QmpClient.open(
    peer(({ execute, id }) => {
      if (execute === 'bad') return `{"id": ${id}, "error": {"class": "GenericError", "desc": "no such thing"}}\n`;
      return `{"event": "RESUME", "data": {"by": "${execute}"}}\n{"return": {"of": "${execute}"}, "id": ${id}}\n`;
    }),
  );
  t.equal(client.version, '10.0.13');
  const event = client.waitFor('RESUME', 1000, (data) => (data as { by: string }).by === 'cont');
  t.same(await client.execute('cont'), { of: 'cont' });
  t.same((await event).data, { by: 'cont' });
  const failure = await client.execute('bad').catch((error: unknown) => error);
  t.ok(failure instanceof QmpCommandError);
  t.match(failure, { qmpClass: 'GenericError', command: 'bad', message: 'QMP bad: no such thing' });
  await client[Symbol.asyncDispose]();
  await t.rejects(client.execute('cont'), { code: 'qmp-lost' });
});

void t.test('silence ends at the deadline, a closed stream at once', async (t) => {
  const silentPeer = peer(({ execute, id }) => (execute === 'qmp_capabilities' ? `{"return": {}, "id": ${id}}\n` : ''));
  const client = await QmpClient.open(silentPeer);
  await t.rejects(client.execute('query-status', {}, 20), { code: 'qmp-deadline', message: /query-status/ });
  const waiting = client.execute('query-status');
  silentPeer.destroy();
  await t.rejects(waiting, { code: 'qmp-lost' });
  await t.rejects(QmpClient.open(new PassThrough(), 20), { code: 'qmp-deadline', message: /greeting/ });
});

for (const release of QEMU_RELEASES) {
  void t.test(`QEMU ${release} starts and answers`, async (t) => {
    const launcher = await cachedQemu(release);
    if (!launcher) return t.plan(0, `QEMU ${release} is not in the cache`);
    await using qemu = await QemuProcess.start(launcher, ['-machine', 'pc', '-accel', 'tcg', '-cpu', 'qemu64']);
    t.equal(qemu.qmp.version, launcher.version);
    t.match(await qemu.qmp.execute('query-status'), { running: false });
    const broken = QemuProcess.start(launcher, ['-machine', 'pc-nonsense']);
    await t.rejects(broken, { code: 'qemu-start', message: /unsupported machine type/ });
  });
}
