/**
 * Threads for KVM_RUN, kept for the next machine: a thread takes 45 ms to start, in an emulated host seconds. One thread runs one vCPU at a time and touches nothing
 * else, so every exit is served by the thread that owns the machine.
 */
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { MachineError } from '../../corpora/errors.js';
import { packageFile } from '../../corpora/package-root.js';
import { signalThread } from './thread-signal.ffi.js';
import { CONTROL, controlWords, landingWord } from './vcpu-thread-words.js';

/** Most threads kept idle: as many as the largest machine has vCPUs. */
const KEPT = 16;
/** A thread that does not come back within this time after its kick will not come back. */
const LANDING_DEADLINE_MS = 30_000;
/** A thread that has not started within this time will not start. */
const START_DEADLINE_MS = 60_000;
/** The longest interval of Node's timers. */
const FOREVER_MS = 2 ** 31 - 1;

const landings = landingWord();
const idle: VcpuThread[] = [];
const flying = new Set<VcpuThread>();

/** How many KVM_RUNs have come back on any thread: what `waitForLanding` and `nextLanding` wait to change. */
export const landingCount = (): number => Atomics.load(landings, 0);

/** Blocks until another KVM_RUN has come back than the `seen` ones, at most `ms`. */
export function waitForLanding(seen: number, ms: number): void {
  Atomics.wait(landings, 0, seen, Math.max(ms, 0));
}

/** The same, with the event loop turning at least once. */
export async function nextLanding(seen: number, ms: number): Promise<void> {
  await wordChanges(landings, 0, seen, ms);
  await setImmediate();
}

/** Waits until `words[at]` is no longer `value` and that was notified, at most `ms`. */
async function wordChanges(words: Int32Array, at: number, value: number, ms: number): Promise<void> {
  // Such a wait alone does not keep the process alive.
  const alive = setInterval(() => undefined, FOREVER_MS);
  const wait = Atomics.waitAsync(words, at, value, Math.max(ms, 0));
  if (wait.async) await wait.value;
  clearInterval(alive);
}

/**
 * Has threads for `count` vCPUs stand ready, so that no deadline of a guest, and no guest's downtime, counts their start. Throws `MachineError`
 * `vcpu-thread-lost`.
 */
export const prepareThreads = (count: number): Promise<void> => VcpuThread.prepare(count);

export class VcpuThread {
  readonly #control = controlWords();
  readonly #worker: Worker;
  #failure: Error | null = null;

  private constructor() {
    this.#worker = new Worker(packageFile('dist/reference-vmm/kvm/vcpu-thread.js'), {
      workerData: { control: this.#control, landings },
      // Neither a debugger nor the loader of a test runner: each would cost a thread its start.
      ...{ execArgv: [], env: {} },
    });
    this.#worker.unref();
    // No memory or no more threads: told by the next question, not as an error of its own.
    this.#worker.on('error', (error) => {
      this.#failure = error;
      Atomics.notify(this.#control, CONTROL.threadId);
    });
  }

  /** An idle thread, or a new one. */
  static take(): VcpuThread {
    endWithProcess();
    return idle.pop() ?? new VcpuThread();
  }

  /** `prepareThreads`. */
  static async prepare(count: number): Promise<void> {
    endWithProcess();
    while (idle.length < count) idle.push(new VcpuThread());
    await Promise.all(idle.slice(-count).map((thread) => thread.#starts()));
  }

  async #starts(): Promise<void> {
    await wordChanges(this.#control, CONTROL.threadId, 0, START_DEADLINE_MS);
    this.#checkThatItLives();
    if (Atomics.load(this.#control, CONTROL.threadId) === 0) throw notStarted();
  }

  /** Precondition: it has landed. */
  give(): void {
    if (idle.length < KEPT) idle.push(this);
    else this.#end();
  }

  /** Begins KVM_RUN. Precondition: it has landed. */
  launch(fd: number): void {
    flying.add(this);
    Atomics.store(this.#control, CONTROL.vcpu, fd);
    Atomics.add(this.#control, CONTROL.launches, 1);
    Atomics.notify(this.#control, CONTROL.launches);
  }

  /** The errno of the last launch, 0 for an exit; null while it runs. Throws `MachineError` `vcpu-thread-lost` where the thread has ended. */
  landed(): number | null {
    this.#checkThatItLives();
    if (Atomics.load(this.#control, CONTROL.landed) !== Atomics.load(this.#control, CONTROL.launches)) return null;
    flying.delete(this);
    return Atomics.load(this.#control, CONTROL.errno);
  }

  /** Ends the KVM_RUN under way, or the next. */
  kick(): void {
    // A thread that starts has not told its id yet.
    Atomics.wait(this.#control, CONTROL.threadId, 0, START_DEADLINE_MS);
    const tid = Atomics.load(this.#control, CONTROL.threadId);
    if (tid === 0) throw notStarted();
    signalThread(tid);
  }

  /** Blocks until it has landed. Precondition: kicked. Throws `MachineError` `vcpu-thread-lost`. */
  land(): number {
    const deadline = performance.now() + LANDING_DEADLINE_MS;
    for (;;) {
      const seen = landingCount();
      const errno = this.landed();
      if (errno !== null) return errno;
      const left = deadline - performance.now();
      if (left <= 0) throw new MachineError('vcpu-thread-lost', `KVM_RUN did not end within ${LANDING_DEADLINE_MS} ms`);
      waitForLanding(seen, left);
    }
  }

  #checkThatItLives(): void {
    const cause = this.#failure;
    if (cause) throw new MachineError('vcpu-thread-lost', `a thread for a vCPU ended: ${cause.message}`, { cause });
  }

  #end(): void {
    this.launch(-1);
    flying.delete(this);
  }
}

const notStarted = (): MachineError =>
  new MachineError('vcpu-thread-lost', `a thread for a vCPU did not start within ${START_DEADLINE_MS} ms`);

let watched = false;
/** Node waits for its threads when it ends, and cannot leave KVM_RUN by itself. */
function endWithProcess(): void {
  if (watched) return;
  watched = true;
  process.on('exit', () => {
    for (const thread of flying) thread.kick();
  });
}
