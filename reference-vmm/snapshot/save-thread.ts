/** The threads of live saves, as their owner sees them: one is kept for the next save, because it takes longer to start than many saves. */
import { Worker } from 'node:worker_threads';
import { MachineError } from '../../corpora/errors.js';
import { packageFile } from '../../corpora/package-root.js';
import { removeTemporary } from '../../corpora/write-file.js';
import type { SaveMessage, SaveRequest, SaveThreadData } from './live-save-words.js';

let spare: Worker | null = null;

/** Starts the thread of the next live save already. */
export function prepareLiveSave(): void {
  spare ??= newThread();
}

function newThread(): Worker {
  const thread = new Worker(packageFile('dist/reference-vmm/snapshot/live-save-thread.js'), {
    // Neither a debugger nor the loader of a test runner: each would cost the thread its start.
    ...{ execArgv: [], env: {} },
  });
  thread.unref();
  // A spare that dies harms nobody: the next save starts a thread of its own, and tells why it cannot.
  thread
    .on('error', () => undefined)
    .on('exit', () => {
      if (spare === thread) spare = null;
    });
  return thread;
}

export type SaveEnd = Extract<SaveMessage, { kind: 'saved' | 'given-up' }>;

/** One save on a thread. */
export class SaveThread {
  readonly #thread: Worker;
  readonly #threadId: number;
  readonly #file: string;
  /** Resolves once the file is open and all pages are there. */
  readonly ready: Promise<void>;
  /** Settles once the thread is done with the file: rejects with `MachineError` where it could not write it, or died. */
  readonly end: Promise<SaveEnd>;

  constructor(data: SaveThreadData) {
    this.#thread = spare ?? newThread();
    spare = null;
    this.#threadId = this.#thread.threadId;
    this.#file = data.file;
    this.#thread.ref();
    let isReady = (): void => undefined;
    this.ready = new Promise((resolve) => {
      isReady = resolve;
    });
    this.end = this.#listen(isReady);
    this.end.catch(() => undefined);
    this.#send({ kind: 'begin', data });
  }

  /** Precondition: `ready`. */
  run(plan: Extract<SaveRequest, { kind: 'plan' }>['plan']): void {
    this.#send({ kind: 'plan', plan });
  }

  #send(request: SaveRequest): void {
    this.#thread.postMessage(request);
  }

  #listen(isReady: () => void): Promise<SaveEnd> {
    const thread = this.#thread;
    return new Promise<SaveEnd>((resolve, reject) => {
      const stop = (): void => {
        thread.off('error', died).off('exit', died).off('message', hear);
      };
      const died = (why: unknown): void => {
        stop();
        removeTemporary(this.#file, this.#threadId);
        const message = `the thread that saves ${this.#file} died: ${String(why)}`;
        reject(new MachineError('live-save-thread', message, { given: this.#file }));
      };
      const hear = (message: SaveMessage): void => {
        if (message.kind === 'ready') {
          isReady();
          return;
        }
        stop();
        keep(thread);
        if (message.kind !== 'failed') resolve(message);
        else reject(new MachineError(message.code, message.message, { given: this.#file }));
      };
      thread.on('error', died).on('exit', died).on('message', hear);
    });
  }
}

function keep(thread: Worker): void {
  thread.unref();
  if (spare) void thread.terminate();
  else spare = thread;
}
