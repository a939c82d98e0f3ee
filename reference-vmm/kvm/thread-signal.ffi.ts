/**
 * The one signal that ends a KVM_RUN. A thread that runs vCPUs has it blocked, and KVM_SET_SIGNAL_MASK lets it through during KVM_RUN
 * alone: one that comes too early stays pending and ends the next KVM_RUN at once (no race), no handler ever runs, and Node's own
 * signals work as ever.
 */
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const gettid = libc.func('gettid', 'int', []);
const tgkill = libc.func('tgkill', 'int', ['int', 'int', 'int']);
const pthreadSigmask = libc.func('pthread_sigmask', 'int', ['int', 'void *', 'void *']);
const sigtimedwait = libc.func('sigtimedwait', 'int', ['void *', 'void *', 'void *']);

/** A real-time signal (glibc's SIGRTMIN is 34) that neither Node nor libuv uses. */
export const SIGNAL = 44;
const SIG_BLOCK = 0;
const SIGSET_BYTES = 128;
const AT = (SIGNAL - 1) >> 3;
const BIT = 1 << ((SIGNAL - 1) & 7);

const set = new Uint8Array(SIGSET_BYTES);
set[AT] = BIT;
const noWait = new Uint8Array(16);

export const threadId = (): number => gettid();

/** Blocks the signal in this thread. Gives the kernel's 8-byte signal set of this thread without it: for KVM_SET_SIGNAL_MASK. */
export function blockSignal(): Uint8Array {
  const before = new Uint8Array(SIGSET_BYTES);
  pthreadSigmask(SIG_BLOCK, set, before);
  const mask = before.slice(0, 8);
  mask[AT]! &= ~BIT;
  return mask;
}

/** Takes this thread's pending signal, if there is one: true where there was. */
export const consumeSignal = (): boolean => sigtimedwait(set, null, noWait) === SIGNAL;

/** Sends the signal to a thread of this process. */
export function signalThread(tid: number): void {
  tgkill(process.pid, tid, SIGNAL);
}
