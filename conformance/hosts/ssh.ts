/** Hosts over ssh: `guest-abi agent` of the same version there, no root beyond /dev/kvm. */
import type { Duplex } from 'node:stream';
import { GuestAbiError, InputError, MachineError } from '../../corpora/errors.js';
import { PACKAGE_VERSION } from '../version.js';
import { streamOver } from './bridge.js';
import { type Child, caughtInterrupt, endChild, openChildAgent, startChild } from './child-agent.js';
import type { AgentSession } from './host.js';
import { ProcessHost, type ProcessHostSpec } from './process-host.js';

/**
 * No prompt: a runner has nobody to ask. A link that is silent ends in 15 seconds. Of the user's configuration, no master that would stay
 * behind is started, and no forwarding, which the second of several sessions could not have.
 */
const OPTIONS = [
  'BatchMode=yes',
  'ConnectTimeout=15',
  'ServerAliveInterval=5',
  'ServerAliveCountMax=3',
  'ControlMaster=no',
  'ClearAllForwardings=yes',
].flatMap((option) => ['-o', option]);

/** Milliseconds for a socket to stand there: as long as an agent has for its hello. */
const SOCKET_DEADLINE_MS = 20_000;

/** The ssh program with its arguments; GUEST_ABI_SSH replaces it, as GIT_SSH_COMMAND does for git. */
const sshCommand = (): readonly string[] => process.env.GUEST_ABI_SSH?.split(' ').filter(Boolean) ?? ['ssh'];

/**
 * `destination` as ssh takes it: `USER@HOST`, or a name of ssh's configuration. Throws `InputError` where it is none, `MachineError` where ssh, guest-abi
 * there, or its /dev/kvm fails.
 */
export async function openSshHost(
  destination: string,
  how: Pick<ProcessHostSpec, 'onLost'> = {},
): Promise<ProcessHost> {
  if (!/^[A-Za-z0-9_][\w.@%:[\]-]*$/.test(destination))
    throw new InputError('bad-ssh-host', `'${destination}' is no ssh destination: ssh:USER@HOST`, {
      given: destination,
    });
  const id = `ssh:${destination}`;
  const command = [...sshCommand(), '-T', ...OPTIONS, destination, 'guest-abi', 'agent'];
  try {
    return await ProcessHost.start({
      id,
      openAgent: () => openChildAgent(command, (kind, path) => remoteSocket(id, command, kind, path)),
      ...how,
    });
  } catch (error) {
    throw error instanceof GuestAbiError ? failed(id, error) : error;
  }
}

/** The error of a host that could not be opened: one line that names the host, and the cure where guest-abi is missing there. */
function failed(id: string, error: GuestAbiError): GuestAbiError {
  const says = lastLine(error.message).replace(/^.*its last words: /, '');
  const cure = /not found/.test(says)
    ? `; install guest-abi ${PACKAGE_VERSION} there, on the PATH of commands run over ssh`
    : '';
  const code = error.code === 'agent-gone' ? 'ssh-host' : error.code;
  const { nearest } = error;
  return new MachineError(code, `${id}: ${says}${cure}`, { given: error.given ?? id, nearest, cause: error });
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1)!;

/** For the shell there. */
const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/** A stream to a unix socket there, through another ssh: `guest-abi agent --socket` says when it stands. */
async function remoteSocket(
  id: string,
  command: readonly string[],
  ...[kind, path]: Parameters<AgentSession['socket']>
): Promise<Duplex> {
  const start = (): Child => startChild([...command, '--socket', kind, quoted(path)]);
  let child = start();
  let standing = await stands(child);
  if (!standing && caughtInterrupt(child.process)) {
    child = start();
    standing = await stands(child);
  }
  if (!standing) {
    await endChild(child.process);
    const why = lastLine(child.lastWords()) || `nothing within ${SOCKET_DEADLINE_MS} ms`;
    throw new MachineError('ssh-socket', `${id}: cannot ${kind} ${path}: ${why}`, { given: path });
  }
  const { stdin, stdout } = child.process;
  return streamOver(Promise.resolve({ input: stdout, output: stdin }), () => endChild(child.process));
}

/** Whether the one byte came; what follows it is left to be read. */
const stands = ({ process: child }: Child): Promise<boolean> =>
  new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), SOCKET_DEADLINE_MS);
    const settle = (outcome: boolean): void => {
      clearTimeout(timer);
      resolve(outcome);
    };
    child.once('close', () => settle(false));
    child.stdout.once('data', (bytes: Buffer) => {
      child.stdout.pause();
      if (bytes.length > 1) child.stdout.unshift(bytes.subarray(1));
      settle(true);
    });
  });
