/** The spare thread of live saves: one that cannot start ends no guest, and is not given to the next save. */
import { syncBuiltinESMExports } from 'node:module';
import workers, { type WorkerOptions } from 'node:worker_threads';
import t from 'tap';

/** Each that was started; what it is to run fails, as where there is no memory for it. */
const started: workers.Worker[] = [];
workers.Worker = class extends workers.Worker {
  constructor(_: string | URL, options: WorkerOptions) {
    super('throw new Error("no memory")', { ...options, eval: true });
    started.push(this);
  }
};
syncBuiltinESMExports();
const { prepareLiveSave, SaveThread } = await import('./save-thread.js');

void t.test('a spare thread that dies is told by nobody, and the next save starts its own and says why', async (t) => {
  prepareLiveSave();
  const [spare] = started;
  spare!.ref();
  await new Promise((resolve) => spare!.once('exit', resolve));
  const words = new Int32Array(new SharedArrayBuffer(64));
  const data = { uffd: -1, range: { address: 0n, bytes: 0 }, file: '/nowhere/guest', words, bytesPerSecond: 1 };
  await t.rejects(new SaveThread(data).end, { code: 'live-save-thread', message: /no memory/ });
  t.equal(started.length, 2);
});
