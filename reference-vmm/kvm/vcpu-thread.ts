/** A thread that runs vCPUs: what it is told by the words of `CONTROL`, it does; it decides nothing. */
import { workerData } from 'node:worker_threads';
import { errnoName } from './kvm-error.js';
import { lastErrno, tryIoctl } from './libc.ffi.js';
import { blockSignal, consumeSignal, threadId } from './thread-signal.ffi.js';
import { CONTROL, type ThreadWords } from './vcpu-thread-words.js';

const { control, landings } = workerData as ThreadWords;

/** KVM_RUN until there is an exit (0), a signal (EINTR), or an error; gives its errno. */
function run(fd: number): number {
  for (;;) {
    if (tryIoctl(fd, 'KVM_RUN') >= 0) return 0;
    const errno = lastErrno();
    const name = errnoName(errno);
    // A vCPU that was waiting for its start-up IPI and has it: KVM wants to be asked again.
    if (name === 'EAGAIN') continue;
    if (name === 'EINTR') consumeSignal();
    return errno;
  }
}

blockSignal();
Atomics.store(control, CONTROL.threadId, threadId());
Atomics.notify(control, CONTROL.threadId);
for (let done = 0; ; ) {
  // A wake-up may be late: of a launch whose run has been and whose exit waits to be answered.
  while (Atomics.load(control, CONTROL.launches) === done) Atomics.wait(control, CONTROL.launches, done);
  done = Atomics.load(control, CONTROL.launches);
  const fd = Atomics.load(control, CONTROL.vcpu);
  if (fd < 0) break;
  Atomics.store(control, CONTROL.errno, run(fd));
  Atomics.store(control, CONTROL.landed, done);
  Atomics.add(landings, 0, 1);
  Atomics.notify(landings, 0);
}
