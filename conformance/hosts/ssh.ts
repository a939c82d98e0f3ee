/** Hosts over ssh: `guest-abi agent` of the same version there, no root beyond /dev/kvm. */
import { spawn } from 'node:child_process';
import { Duplex } from 'node:stream';
import { InputError, MachineError } from '../../corpora/errors.js';
import { openChildAgent } from './child-agent.js';
import type { AgentSession } from './host.js';
import { ProcessHost } from './process-host.js';

/** Without a password prompt: a runner has nobody to ask. */
const OPTIONS = ['-T', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=15'];

/** The ssh program with its arguments; GUEST_ABI_SSH replaces it, as GIT_SSH_COMMAND does for git. */
const sshCommand = (): readonly string[] => process.env.GUEST_ABI_SSH?.split(' ').filter(Boolean) ?? ['ssh'];

/**
 * `destination` as ssh takes it: `USER@HOST`, or a name of ssh's configuration. Throws `InputError` where it is none, `MachineError` where ssh, guest-abi
 * there, or its /dev/kvm fails.
 */
export async function openSshHost(destination: string): Promise<ProcessHost> {
  if (!/^[A-Za-z0-9_][\w.@%:[\]-]*$/.test(destination))
    throw new InputError('bad-ssh-host', `'${destination}' is no ssh destination: ssh:USER@HOST`, {
      given: destination,
    });
  const command = [...sshCommand(), ...OPTIONS, destination, 'guest-abi', 'agent'];
  try {
    return await ProcessHost.start({
      id: `ssh:${destination}`,
      openAgent: () => openChildAgent(command, (kind, path) => remoteSocket(command, kind, path)),
    });
  } catch (error) {
    if (!(error instanceof MachineError) || error.code !== 'agent-gone') throw error;
    throw new MachineError('ssh-host', `ssh:${destination}: ${error.message}`, { given: destination, cause: error });
  }
}

/** A stream to a unix socket there, through another ssh: `guest-abi agent --socket` says when it stands. */
async function remoteSocket(
  command: readonly string[],
  ...[kind, path]: Parameters<AgentSession['socket']>
): Promise<Duplex> {
  const [file, ...args] = [...command, '--socket', kind, path];
  const child = spawn(file!, args, { stdio: ['pipe', 'pipe', 'ignore'] });
  const stands = await new Promise<boolean>((resolve) => {
    child.stdout.once('readable', () => resolve(child.stdout.read(1) !== null));
    child.once('close', () => resolve(false));
    child.once('error', () => resolve(false));
  });
  if (!stands) throw new MachineError('ssh-socket', `no socket ${path} over ssh`);
  const stream = Duplex.from({ readable: child.stdout, writable: child.stdin });
  // A link that breaks is told by the agents, on both sides.
  stream.on('error', () => {});
  stream.once('close', () => child.kill());
  return stream;
}
