import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { CLI, runCli } from '../cli/run-cli.js';

const SSHD = '/usr/sbin/sshd';
const skip =
  (!existsSync(SSHD) && 'no sshd here (Debian: openssh-server)') || (!existsSync('/dev/kvm') && 'no /dev/kvm here');

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** An sshd of our own on the loopback, whose PATH has `guest-abi`; gives what GUEST_ABI_SSH must be. */
async function startSshd(
  folder: string,
  guestAbi: string,
): Promise<{ readonly sshd: ChildProcess; readonly ssh: string }> {
  const file = (name: string, text: string, mode = 0o600): string => {
    writeFileSync(join(folder, name), text, { mode });
    return join(folder, name);
  };
  mkdirSync(join(folder, 'bin'));
  mkdirSync('/run/sshd', { recursive: true });
  file('bin/guest-abi', `#!/bin/sh\nexec ${guestAbi} "$@"\n`, 0o755);
  for (const key of ['host', 'user'])
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, key)]);
  execFileSync('cp', [join(folder, 'user.pub'), join(folder, 'authorized')]);
  const port = await freePort();
  const config = file(
    'sshd_config',
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${folder}/host`,
      `AuthorizedKeysFile ${folder}/authorized`,
      'StrictModes no',
      'PasswordAuthentication no',
      'PermitRootLogin yes',
      'PidFile none',
      `SetEnv PATH=${folder}/bin:${process.env.PATH}`,
    ].join('\n'),
  );
  const client = file(
    'ssh_config',
    [
      'Host peer',
      '  HostName 127.0.0.1',
      `  Port ${port}`,
      `  User ${userInfo().username}`,
      `  IdentityFile ${folder}/user`,
      '  IdentitiesOnly yes',
      '  StrictHostKeyChecking no',
      `  UserKnownHostsFile ${folder}/known`,
      '  LogLevel ERROR',
    ].join('\n'),
  );
  const sshd = spawn(SSHD, ['-D', '-e', '-f', config], { stdio: 'ignore' });
  await new Promise((resolve) => setTimeout(resolve, 300));
  return { sshd, ssh: `ssh -F ${client}` };
}

void t.test('a host over ssh: boots, and takes a guest that migrates to it', { skip }, async (t) => {
  const { sshd, ssh } = await startSshd(t.testdir(), `${process.execPath} ${CLI}`);
  t.teardown(() => sshd.kill());
  const { code, stdout, stderr } = await runCli(
    [
      'verify',
      ...[
        '--pair',
        'pc-i440fx-1.6/Nehalem',
        '--host',
        'local',
        '--host',
        'ssh:peer',
        '--scenario',
        'boot,migrate,snapshot-restore',
      ],
      ...['--allow-altered', '--force-features', '--json', '--log', join(t.testdirName, 'log')],
    ],
    { env: { GUEST_ABI_SSH: ssh } },
  );
  t.equal(stderr, '');
  const { cells } = JSON.parse(stdout) as { cells: { hosts: string[]; verdict: string; predicted: string }[] };
  t.match(
    cells.map(({ hosts }) => hosts.join('>')),
    ['local', 'ssh:peer', 'local>local', 'ssh:peer>ssh:peer', 'local>ssh:peer', 'ssh:peer>local'],
  );
  for (const { hosts, verdict, predicted } of cells) {
    t.equal(verdict, predicted, hosts.join('>'));
    t.match(verdict, /^(identical|altered)$/);
  }
  t.notMatch(code, 1);
});

void t.test('a host that runs another version, or no guest-abi, is refused in one line', { skip }, async (t) => {
  const other = `${process.execPath} -e 'console.log(JSON.stringify({schema:"guest-abi/agent/1",version:"0.0.1"}))'`;
  for (const [command, says] of [
    [other, /runs guest-abi 0\.0\.1, this is/],
    ['/nonexistent', /ssh:peer.*not found/],
  ] as const) {
    const { sshd, ssh } = await startSshd(t.testdir({}), command);
    const end = await runCli(['verify', '--pair', 'pc-i440fx-1.6/Nehalem', '--host', 'ssh:peer'], {
      env: { GUEST_ABI_SSH: ssh },
    });
    sshd.kill();
    t.equal(end.code, 3);
    t.match(end.stderr, says);
    t.equal(end.stderr.split('\n').length, 2, 'one line');
  }
});
