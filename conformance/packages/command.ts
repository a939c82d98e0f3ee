/** Runs a program of the system to its end and gives its output, or an error that says how it ended. */
import { spawn } from 'node:child_process';
import { MachineError } from '../../corpora/errors.js';
import { endsWithUs } from '../ends-with-us.js';
import { eachLine } from './lines.js';

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Milliseconds; then the program is killed. */
  readonly deadline: number;
  /** Called with each whole line that the program writes on file descriptor 3. */
  readonly onStatusLine?: (line: string) => void;
}

export interface CommandResult {
  /** Exit status; null where a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
}

/** Throws `MachineError` only where the program does not exist. Output is taken as UTF-8; messages are in the C locale. */
export async function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: { ...(options.env ?? process.env), LC_ALL: 'C.UTF-8' },
    stdio: ['ignore', 'pipe', 'pipe', options.onStatusLine ? 'pipe' : 'ignore'],
  });
  const [stdout, stderr] = [gather(child.stdout!), gather(child.stderr!)];
  if (options.onStatusLine) eachLine(child.stdio[3] as NodeJS.ReadableStream, options.onStatusLine);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    // What it started itself may live on, and hold the pipes open.
    const letGo = (): void => {
      for (const stream of child.stdio) stream?.destroy();
    };
    if (child.exitCode === null && child.signalCode === null) child.once('exit', letGo).kill('SIGKILL');
    else letGo();
  }, options.deadline);
  endsWithUs(child, 'SIGTERM');
  try {
    const status = await new Promise<number | null>((resolve, reject) => {
      child.once('error', (error) => reject(missing(program, error)));
      child.once('close', (code) => resolve(code));
    });
    return { status, stdout: stdout(), stderr: stderr(), timedOut };
  } finally {
    clearTimeout(timer);
  }
}

const missing = (program: string, cause: unknown): MachineError =>
  new MachineError('program-missing', `cannot run ${program}: ${(cause as Error).message}`, { given: program, cause });

/** Gives what has come so far. */
function gather(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString('utf8');
}
