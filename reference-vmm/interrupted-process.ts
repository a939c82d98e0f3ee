/** For tests: a process of its own with machines in it, which says that it runs and is interrupted then. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

const here = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
const IMPORTS = `
  import { openKvm } from ${here('kvm/system.js')};
  import { flatMachine, probeMachine, smpIdentity } from ${here('fixtures.js')};
  import { runAsync } from ${here('monitor.js')};
  import { LiveMachine } from ${here('live-machine.js')};`;

/** Runs `body`, a module's text, and sends SIGINT some time after its first output. */
export async function interruptedProcess(body: string) {
  // The test runner's own hooks would come along in NODE_OPTIONS and handle SIGINT.
  const command = ['-u', 'NODE_OPTIONS', process.execPath, '--input-type=module', '-e', IMPORTS + body];
  const child = spawn('env', command, { stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(child, 'close') as Promise<[number | null, string | null]>;
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  await once(child.stdout, 'data');
  await new Promise((resolve) => setTimeout(resolve, 100));
  const start = performance.now();
  child.kill('SIGINT');
  const [code, signal] = await closed;
  return { code, signal, output: Buffer.concat(output).toString(), ms: performance.now() - start };
}
