/** Starts a QEMU without a guest for questions over QMP, and leaves nothing of it behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MachineError } from '../../corpora/errors.js';
import { endsWithUs, makeFolder, removeFolder } from '../ends-with-us.js';
import type { QemuLauncher } from '../packages/qemu-trees.js';
import { connectQmp, type QmpClient } from './qmp-client.js';

/** How long QEMU may take to open its QMP socket, in milliseconds: two busy cores, cold page cache. */
const START_DEADLINE = 60_000;

/** Milliseconds for a QEMU that has closed its connection to end, and for what it said to come. */
const ENDING = 2000;

/** QEMU ended before it answered, or never did. */
export class QemuStartError extends MachineError {
  /** All that it wrote on stderr. */
  readonly said: string;
  /** As `QemuProcess.ended`. */
  readonly ended: string;

  constructor(message: string, said: string, ended: string, cause: unknown) {
    super('qemu-start', message, { cause });
    this.said = said;
    this.ended = ended;
  }
}

/** A QEMU, by default one that waits before its first instruction (`-S`), with its QMP session. */
export class QemuProcess implements AsyncDisposable {
  readonly qmp: QmpClient;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #stderr: () => string;
  readonly #closed: Promise<unknown>;

  private constructor(
    qmp: QmpClient,
    child: ChildProcess,
    folder: string,
    stderr: () => string,
    closed: Promise<unknown>,
  ) {
    this.#closed = closed;
    this.#stderr = stderr;
    this.qmp = qmp;
    this.#child = child;
    this.#folder = folder;
  }

  /**
   * Starts QEMU with `args` added to a bare, deviceless configuration; `held` (default) waits before the first instruction, else the guest runs.
   * Throws `QemuStartError` with QEMU's own message where it ends at once.
   */
  static async start(launcher: QemuLauncher, args: readonly string[], held = true): Promise<QemuProcess> {
    const folder = makeFolder('guest-abi-qmp-');
    const socket = join(folder, 'qmp');
    const bare = [
      '-nodefaults',
      '-no-user-config',
      '-display',
      'none',
      ...(held ? ['-S'] : []),
      '-qmp',
      `unix:${socket},server=on,wait=off`,
    ];
    const [program, ...rest] = launcher.argv([...bare, ...args]);
    const child = spawn(program, rest, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...launcher.env },
    });
    endsWithUs(child);
    let complaint = '';
    child.stderr!.on('data', (text) => {
      complaint = `${complaint}${text}`.slice(-65536);
    });
    child.on('error', (error) => {
      complaint = error.message;
    });
    const closed = new Promise((resolve) => child.once('close', resolve));
    try {
      const qmp = await connectQmp(socket, START_DEADLINE, () => isAlive(child));
      return new QemuProcess(qmp, child, folder, () => complaint, closed);
    } catch (error) {
      if ((error as MachineError).code === 'qmp-lost') await orAWhile(closed);
      const ended = endOf(child);
      await end(child, folder);
      const why =
        ended === '' ? `no answer in ${START_DEADLINE} ms` : (firstComplaint(complaint) ?? `no message (${ended})`);
      throw new QemuStartError(`QEMU ${launcher.version}: ${why}`, complaint, ended, error);
    }
  }

  get alive(): boolean {
    return isAlive(this.#child);
  }

  /** The end of what it wrote on stderr so far. */
  get said(): string {
    return this.#stderr();
  }

  /** How it ended: `status 1`, `ended by SIGABRT`; empty while it runs. */
  get ended(): string {
    return endOf(this.#child);
  }

  /** Waits for the end of one that has closed its connection, and for all that it said. */
  ending(): Promise<unknown> {
    return orAWhile(this.#closed);
  }

  /** Kills QEMU and removes its socket. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.qmp[Symbol.asyncDispose]();
    await end(this.#child, this.#folder);
  }
}

/** A wrapper's child may hold its pipes open. */
const orAWhile = (closed: Promise<unknown>): Promise<unknown> =>
  Promise.race([closed, sleep(ENDING, undefined, { ref: false })]);

function endOf({ exitCode, signalCode, pid }: ChildProcess): string {
  if (signalCode) return `ended by ${signalCode}`;
  if (pid === undefined) return 'not started';
  return exitCode === null ? '' : `status ${exitCode}`;
}

const isAlive = (child: ChildProcess): boolean =>
  child.pid !== undefined && child.exitCode === null && child.signalCode === null;

async function end(child: ChildProcess, folder: string): Promise<void> {
  if (isAlive(child)) {
    const closed = once(child, 'close');
    child.kill('SIGKILL');
    await closed;
  }
  removeFolder(folder);
}

/** The first line that is no warning: hints may follow it. */
const firstComplaint = (text: string): string | undefined =>
  text
    .trim()
    .split('\n')
    .find((line) => line && !line.includes('warning:'))
    ?.replace(/^\S*qemu-system-x86_64: /, '');
