/** The bound on a KVM_RUN of the calling thread: a POSIX timer that sends the signal of thread-signal.ffi.ts to this thread only. */
import koffi from 'koffi';
import { KvmError } from './kvm-error.js';
import { lastErrno } from './libc.ffi.js';
import { blockSignal, consumeSignal, SIGNAL, threadId } from './thread-signal.ffi.js';

const libc = koffi.load('libc.so.6');
const timerCreate = libc.func('timer_create', 'int', ['int', 'void *', 'void *']);
const timerSettime = libc.func('timer_settime', 'int', ['uint64_t', 'int', 'void *', 'void *']);
const timerDelete = libc.func('timer_delete', 'int', ['uint64_t']);

const CLOCK_MONOTONIC = 1;
const SIGEV_THREAD_ID = 4;

/** A timer of the thread that made it; it must be used on no other. */
export class RunTimer implements Disposable {
  readonly #id: bigint;
  readonly #spec = new DataView(new ArrayBuffer(32));
  readonly #specBytes = new Uint8Array(this.#spec.buffer);
  #armedFor = Number.POSITIVE_INFINITY;
  /** The kernel's 8-byte signal set of this thread without our signal: for KVM_SET_SIGNAL_MASK. */
  readonly runMask: Uint8Array;

  /** Throws `KvmError`. */
  constructor() {
    this.runMask = blockSignal();
    const event = new DataView(new ArrayBuffer(64));
    event.setInt32(8, SIGNAL, true);
    event.setInt32(12, SIGEV_THREAD_ID, true);
    event.setInt32(16, threadId(), true);
    const id = new BigUint64Array(1);
    if (timerCreate(CLOCK_MONOTONIC, new Uint8Array(event.buffer), new Uint8Array(id.buffer)) < 0)
      throw new KvmError('timer_create', lastErrno());
    this.#id = id[0]!;
  }

  /** Has the signal come at `deadline` (milliseconds of `performance.now()`). A deadline that is armed already costs nothing. */
  arm(deadline: number): void {
    if (deadline === this.#armedFor) return;
    // A signal of the deadline before must not end the next run; before the timer is set, else this could take its signal too.
    this.consume();
    // An all-zero time would disarm.
    const left = Math.min(Math.max(deadline - performance.now(), 0.001), 1e9);
    const seconds = Math.floor(left / 1000);
    this.#spec.setUint32(16, seconds, true);
    this.#spec.setUint32(24, Math.floor((left - seconds * 1000) * 1e6), true);
    if (timerSettime(this.#id, 0, this.#specBytes, null) < 0) throw new KvmError('timer_settime', lastErrno());
    this.#armedFor = deadline;
  }

  /** Takes our pending signal, if there is one: true where there was. */
  consume(): boolean {
    return consumeSignal();
  }

  [Symbol.dispose](): void {
    timerDelete(this.#id);
    this.consume();
  }
}
