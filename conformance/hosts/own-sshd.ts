/** An sshd of our own on the loopback, on which `guest-abi` is this build; for tests. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const SSHD = '/usr/sbin/sshd';

/** Why there can be none here, or false. */
export const noSshd = !existsSync(SSHD) && 'no sshd here (Debian: openssh-server)';

export interface OwnSshd extends AsyncDisposable {
  /** For the runner: GUEST_ABI_SSH, where `ssh:peer` and `ssh:other` are this machine and nobody answers on `ssh:closed`, and a TMPDIR that only it uses. */
  readonly env: Readonly<Record<string, string>>;
  /** What `guest-abi` there is: a shell's words. */
  install(command: string): void;
  /** Command lines of what runs for a runner with this `env`: its children, sshd's sessions, and what runs in them. */
  running(): string[];
  /** Kills sshd's sessions and what runs in them, as a host that dies. */
  killSessions(): void;
}

export async function startOwnSshd(): Promise<OwnSshd> {
  // Not a fixture folder: paths of unix sockets below it must stay under 108 characters.
  const folder = mkdtempSync(join(tmpdir(), 'sshd-'));
  const port = await freePort();
  for (const name of ['bin', 'tmp']) mkdirSync(join(folder, name));
  // Where sshd drops its privileges; it insists on it only when it has some.
  if (process.getuid!() === 0) mkdirSync('/run/sshd', { recursive: true });
  for (const key of ['host', 'user'])
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, key)]);
  writeFileSync(join(folder, 'sshd_config'), serverConfig(folder, port));
  writeFileSync(join(folder, 'ssh_config'), clientConfig(folder, port));
  // However this process ends (a test that is timed out runs no teardown), sshd ends with it.
  const leashed = ['--pdeathsig', 'KILL', SSHD, '-D', '-e', '-f', join(folder, 'sshd_config')];
  const sshd = spawn('setpriv', leashed, { stdio: 'ignore' });
  const ended = once(sshd, 'exit');
  await answering(port);
  const found = (): Process[] => processesOf(folder, sshd.pid!);
  const killSessions = (): void => {
    for (const { pid } of descendants(processes(), sshd.pid!)) kill(pid);
  };
  return {
    env: { GUEST_ABI_SSH: `ssh -F ${join(folder, 'ssh_config')}`, TMPDIR: join(folder, 'tmp') },
    install: (command) =>
      writeFileSync(join(folder, 'bin/guest-abi'), `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 }),
    running: () => found().map(({ words }) => words),
    killSessions,
    [Symbol.asyncDispose]: async () => {
      for (const { pid } of found()) kill(pid);
      sshd.kill('SIGKILL');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const serverConfig = (folder: string, port: number): string =>
  [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${folder}/host`,
    `AuthorizedKeysFile ${folder}/user.pub`,
    'StrictModes no',
    'PasswordAuthentication no',
    'PermitRootLogin yes',
    'PidFile none',
    `SetEnv PATH=${folder}/bin:${process.env.PATH}`,
    '',
  ].join('\n');

const clientConfig = (folder: string, port: number): string =>
  [
    'Host closed',
    '  Port 1',
    'Host peer other closed',
    '  HostName 127.0.0.1',
    `  Port ${port}`,
    `  User ${userInfo().username}`,
    `  IdentityFile ${folder}/user`,
    '  IdentitiesOnly yes',
    '  StrictHostKeyChecking no',
    `  UserKnownHostsFile ${folder}/known`,
    '  LogLevel ERROR',
    '',
  ].join('\n');

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Resolves once something answers on the port; gives up after five seconds. */
async function answering(port: number): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const socket = connect(port, '127.0.0.1');
    const answered = await once(socket, 'data').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (answered) return;
    await sleep(50);
  }
  throw new Error('sshd does not answer');
}

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly words: string;
  readonly environment: string;
}

/** Processes that name the folder in their words or environment, or come from sshd; not sshd, not this process, nor the dead. */
function processesOf(folder: string, sshd: number): Process[] {
  const all = processes();
  const sessions = new Set(descendants(all, sshd));
  return all.filter(
    (one) =>
      one.pid !== sshd &&
      one.pid !== process.pid &&
      (sessions.has(one) || one.words.includes(folder) || one.environment.includes(folder)),
  );
}

const descendants = (all: readonly Process[], pid: number): Process[] =>
  all.filter(({ parent }) => parent === pid).flatMap((child) => [child, ...descendants(all, child.pid)]);

const processes = (): Process[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const of = (file: string): string => readFileSync(`/proc/${name}/${file}`, 'utf8').replaceAll('\0', ' ');
        const words = of('cmdline');
        // A zombie has no words: it waits for its parent to hear of its end.
        if (words === '') return [];
        const parent = Number(/^PPid:\s*(\d+)/m.exec(of('status'))![1]);
        return [{ pid: Number(name), parent, words, environment: of('environ') }];
      } catch {
        return []; // Ended meanwhile, or another user's.
      }
    });

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Ended meanwhile.
  }
}
