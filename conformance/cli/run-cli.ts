/** Runs the command line as a user does, in a process of its own; for tests. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const CLI = fileURLToPath(new URL('main.js', import.meta.url));

export interface CliEnd {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliEnvironment {
  readonly cwd?: string;
  readonly uid?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Sent after `afterMs`. */
  readonly signal?: { readonly name: NodeJS.Signals; readonly afterMs: number };
}

export function runCli(args: readonly string[], { cwd, uid, env, signal }: CliEnvironment = {}): Promise<CliEnd> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CLI, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      ...(cwd === undefined ? {} : { cwd }),
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    const end = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (end.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (end.stderr += text));
    if (signal) setTimeout(() => child.kill(signal.name), signal.afterMs);
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, ...end }));
  });
}
