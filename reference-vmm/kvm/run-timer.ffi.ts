/**
 * The bound on KVM_RUN: a POSIX timer that sends a signal to this thread only. The signal is blocked in the thread and let through
 * by KVM_SET_SIGNAL_MASK during KVM_RUN alone, so a timer that fires too early stays pending and ends the next KVM_RUN at once
 * (no race), no handler ever runs, and Node's own signals work as ever.
 */
import koffi from 'koffi';
import { KvmError } from './kvm-error.js';
import { lastErrno } from './libc.ffi.js';

const libc = koffi.load('libc.so.6');
const gettid = libc.func('gettid', 'int', []);
const timerCreate = libc.func('timer_create', 'int', ['int', 'void *', 'void *']);
const timerSettime = libc.func('timer_settime', 'int', ['uint64_t', 'int', 'void *', 'void *']);
const timerDelete = libc.func('timer_delete', 'int', ['uint64_t']);
const pthreadSigmask = libc.func('pthread_sigmask', 'int', ['int', 'void *', 'void *']);
const sigtimedwait = libc.func('sigtimedwait', 'int', ['void *', 'void *', 'void *']);

/** A real-time signal (glibc's SIGRTMIN is 34) that neither Node nor libuv uses. */
const SIGNAL = 44;
const CLOCK_MONOTONIC = 1;
const SIGEV_THREAD_ID = 4;
const SIG_BLOCK = 0;
const SIGSET_BYTES = 128;

const signalSet = (): Uint8Array => {
  const set = new Uint8Array(SIGSET_BYTES);
  set[(SIGNAL - 1) >> 3] = 1 << ((SIGNAL - 1) & 7);
  return set;
};

/** A timer of the thread that made it; it must be used on no other. */
export class RunTimer implements Disposable {
  readonly #id: bigint;
  readonly #set = signalSet();
  readonly #spec = new DataView(new ArrayBuffer(32));
  readonly #specBytes = new Uint8Array(this.#spec.buffer);
  readonly #noWait = new Uint8Array(16);
  #armedFor = Number.POSITIVE_INFINITY;
  /** The kernel's 8-byte signal set of this thread without our signal: for KVM_SET_SIGNAL_MASK. */
  readonly runMask: Uint8Array;

  /** Throws `KvmError`. */
  constructor() {
    const before = new Uint8Array(SIGSET_BYTES);
    pthreadSigmask(SIG_BLOCK, this.#set, before);
    this.runMask = before.slice(0, 8);
    this.runMask[(SIGNAL - 1) >> 3]! &= ~(1 << ((SIGNAL - 1) & 7));
    const event = new DataView(new ArrayBuffer(64));
    event.setInt32(8, SIGNAL, true);
    event.setInt32(12, SIGEV_THREAD_ID, true);
    event.setInt32(16, gettid(), true);
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
    return sigtimedwait(this.#set, null, this.#noWait) === SIGNAL;
  }

  [Symbol.dispose](): void {
    timerDelete(this.#id);
    this.consume();
  }
}
