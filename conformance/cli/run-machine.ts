/** Starts `vmm run` with a control socket and speaks to it; for tests. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connectQmp, type QmpClient } from '../import/qmp-client.js';
import { CLI } from './run-cli.js';

export const PAIR_OPTIONS = ['--machine', 'pc-i440fx-2.3', '--cpu', 'Nehalem'] as const;
/** For guests that check nothing of their CPU: whatever the host alters or lacks. */
export const ANY_HOST = ['--allow-altered', '--force-features'] as const;

const dword = (value: number): number[] => [0, 8, 16, 24].map((bit) => (value >>> bit) & 0xff);
/** Adds 1 to the first word of each page from 2 MiB to 3 MiB, page after page, for ever: 0: mov $0x200000, %edi; 1: incl (%edi); add $4096, %edi; cmp $0x300000, %edi; jb 1b; jmp 0b */
const WRITER = [
  ...[0xbf, ...dword(0x20_0000), 0xff, 0x07, 0x81, 0xc7, ...dword(0x1000)],
  ...[0x81, 0xff, ...dword(0x30_0000), 0x72, 0xf0, 0xeb, 0xe9],
];

/** A flat image that writes for ever. */
export function writerImage(folder: string): string {
  const file = join(folder, 'writer');
  writeFileSync(file, Uint8Array.from(WRITER));
  return file;
}

/** A running `vmm run`. */
export class RunMachine implements AsyncDisposable {
  readonly qmp: QmpClient;
  readonly #child: ChildProcess;
  /** Its exit code. */
  readonly ended: Promise<number | null>;

  private constructor(qmp: QmpClient, child: ChildProcess, ended: Promise<number | null>) {
    this.qmp = qmp;
    this.#child = child;
    this.ended = ended;
  }

  /** `socket` is where it listens; `onSerial` gets what the guest writes to COM1. */
  static async start(socket: string, args: readonly string[], onSerial?: (bytes: Buffer) => void): Promise<RunMachine> {
    const all = ['vmm', 'run', ...ANY_HOST, '--qmp', `unix:${socket},server=on,wait=off`, ...args];
    const child = spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, CLI, ...all], {
      stdio: ['ignore', onSerial ? 'pipe' : 'ignore', 'inherit'],
    });
    if (onSerial) child.stdout!.on('data', onSerial);
    const ended = once(child, 'close').then(([code]) => code as number | null);
    const qmp = await connectQmp(socket, 60_000, () => child.exitCode === null);
    return new RunMachine(qmp, child, ended);
  }

  /** Ends it as its owner; gives its exit code. */
  async quit(): Promise<number | null> {
    await this.qmp.execute('quit');
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.qmp[Symbol.asyncDispose]();
    this.#child.kill('SIGKILL');
    await this.ended;
  }
}
