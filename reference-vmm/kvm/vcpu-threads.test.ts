import { closeSync, openSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { CONTROL, controlWords, landingWord } from './vcpu-thread-words.js';
import { prepareThreads, VcpuThread } from './vcpu-threads.js';

void t.test('a thread runs once for each launch, however often it is woken', async (t) => {
  const [control, landings] = [controlWords(), landingWord()];
  const worker = new Worker(new URL('./vcpu-thread.js', import.meta.url), {
    ...{ workerData: { control, landings }, execArgv: [], env: {} },
  });
  // KVM_RUN of anything but a vCPU fails at once.
  const fd = openSync('/dev/null', 'r');
  const launch = (vcpu: number) => {
    Atomics.store(control, CONTROL.vcpu, vcpu);
    Atomics.add(control, CONTROL.launches, 1);
    Atomics.notify(control, CONTROL.launches);
  };
  for (let launches = 1; launches <= 3; launches++) {
    launch(fd);
    Atomics.wait(landings, 0, launches - 1, 20_000);
    // As a wake-up does that was sent before the landing and comes after it.
    for (let i = 0; i < 50; i++) {
      Atomics.notify(control, CONTROL.launches);
      Atomics.wait(landings, 0, launches, 1);
    }
    t.equal(Atomics.load(landings, 0), launches);
    t.equal(Atomics.load(control, CONTROL.landed), launches);
  }
  launch(-1);
  const [code] = (await new Promise((resolve) => worker.once('exit', (...ended) => resolve(ended)))) as [number];
  t.equal(code, 0);
  closeSync(fd);
});

void t.test('threads that were prepared run at once, and serve again', async (t) => {
  const fd = openSync('/dev/null', 'r');
  const ENOTTY = 25;
  let first: VcpuThread[] = [];
  for (const round of [1, 2]) {
    await prepareThreads(2);
    const taken = [VcpuThread.take(), VcpuThread.take()];
    for (const thread of taken) thread.launch(fd);
    t.same(
      taken.map((thread) => thread.land()),
      [ENOTTY, ENOTTY],
    );
    if (round === 1) first = taken;
    else t.same(new Set(taken), new Set(first));
    for (const thread of taken) thread.give();
  }
  closeSync(fd);
});
