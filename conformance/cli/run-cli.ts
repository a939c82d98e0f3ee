/** Runs the command line as a user does, in a process of its own; for tests. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const CLI = fileURLToPath(new URL('main.js', import.meta.url));

export interface CliEnd {
  readonly code: number | null;
  /** What ended it, where it did not leave by itself: its `code` is null then. */
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliEnvironment {
  readonly cwd?: string;
  readonly uid?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** What stands on its stdin; then it ends. */
  readonly stdin?: string;
  /** Gets what it prints, as it comes. */
  readonly onStdout?: (text: string) => void;
  /** Sent as soon as `when` holds. */
  readonly signal?: { readonly name: NodeJS.Signals; readonly when: () => boolean };
}

const POLL_MS = 10;

export function runCli(args: readonly string[], environment: CliEnvironment = {}): Promise<CliEnd> {
  const { cwd, uid, env, stdin = '', onStdout, signal } = environment;
  return new Promise((resolve, reject) => {
    // Without the loader that the test runner puts into every Node process: users do not have it, and it costs half the start.
    const child = spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, CLI, ...args], {
      stdio: 'pipe',
      env: { ...process.env, ...env },
      ...(cwd === undefined ? {} : { cwd }),
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    const end = { stdout: '', stderr: '' };
    let sent = false;
    const look = (): void => {
      if (sent || !signal?.when()) return;
      sent = child.kill(signal.name);
    };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      end.stdout += text;
      onStdout?.(text);
      look();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (end.stderr += text));
    child.stdin.on('error', () => {}).end(stdin);
    const poll = setInterval(look, POLL_MS);
    child.on('error', reject);
    child.on('close', (code, endedBy) => {
      clearInterval(poll);
      resolve({ code, signal: endedBy, ...end });
    });
  });
}
