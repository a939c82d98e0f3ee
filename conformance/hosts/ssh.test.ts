/** Tests of hosts over ssh, against an sshd of our own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Definitions } from '../../corpora/definitions.js';
import { identityToJson } from '../../corpora/identity.js';
import type { CellResult } from '../../corpora/verdict.js';
import { openHosts } from '../cli/hosts.js';
import { resolvePair } from '../cli/pairs.js';
import { CLI, runCli } from '../cli/run-cli.js';
import { cellsOf } from '../run/cell.js';
import { runCell, runCells } from '../run/runner.js';
import type { AgentSession, Host } from './host.js';
import { openLocalHost } from './local.js';
import { noSshd, type OwnSshd, startOwnSshd } from './own-sshd.js';
import { openSshHost } from './ssh.js';

const skip = noSshd || (!existsSync('/dev/kvm') && 'no /dev/kvm here');
const OURS = `${process.execPath} ${CLI}`;
const PAIR = 'pc-i440fx-1.6/Nehalem';
const NEHALEM = {
  identity: resolvePair({ machine: 'pc-i440fx-1.6', cpu: 'Nehalem', smp: '1' }, new Definitions()),
  smp: '1',
};
/** Verdicts of this build on any KVM: kernels that alter tables alter them alike on each host of the path. */
const LENIENT = ['--allow-altered', '--force-features'];

let sshd: OwnSshd;

t.before(async () => {
  if (skip) return;
  sshd = await startOwnSshd();
  sshd.install(OURS);
});
t.teardown(() => sshd?.[Symbol.asyncDispose]());

/** What still runs five seconds later. */
async function leftBehind(): Promise<string[]> {
  for (let tries = 0; tries < 50 && sshd.running().length > 0; tries++) await sleep(100);
  return sshd.running();
}

const filesLeft = (): string[] => readdirSync(sshd.env.TMPDIR!);

const named = (...names: string[]): string[] => names.flatMap((name) => ['--host', name]);

void t.test('guests boot, migrate and are restored over ssh, both ways, and nothing is left', { skip }, async (t) => {
  Object.assign(process.env, sshd.env);
  const opened = await openHosts(['local', 'ssh:peer', 'ssh:other']);
  const [, peer] = opened.hosts;
  const all = cellsOf([NEHALEM], opened.hosts, ['migrate', 'snapshot-restore']);
  const cells = all.filter(({ hosts }) => hosts.includes(peer!));
  const seen: string[] = [];
  for await (const { result } of runCells(cells, { allowAltered: true, forceFeatures: true, jobs: 2 })) {
    const name = `${result.scenario} on ${result.hosts.join('>')}`;
    seen.push(name);
    t.match(result.verdict, /^(identical|altered)$/, name, { reasons: result.reasons });
    t.equal(result.verdict, result.predicted, name);
  }
  const paths = ['ssh:peer', 'local>ssh:peer', 'ssh:peer>local', 'ssh:other>ssh:peer', 'ssh:peer>ssh:other'];
  t.same(
    seen.sort(),
    [
      ...['ssh:peer>ssh:peer', ...paths.slice(1)].map((path) => `migrate on ${path}`),
      ...paths.map((path) => `snapshot-restore on ${path}`),
    ].sort(),
  );
  await opened[Symbol.asyncDispose]();
  t.same(await leftBehind(), []);
  t.same(filesLeft(), []);
});

/** Ends a run once it has a result, by a signal to its process group, as a terminal sends it; gives its log. */
async function interrupted(log: string, signal: NodeJS.Signals): Promise<CellResult[]> {
  const runner = spawn(
    process.execPath,
    [
      ...[CLI, 'verify', '--pair', PAIR, ...named('local', 'ssh:peer'), '--scenario', 'migrate', ...LENIENT],
      ...['--jobs', '1', '--log', log],
    ],
    { env: { ...process.env, ...sshd.env }, stdio: 'ignore', detached: true },
  );
  const ended = once(runner, 'exit');
  const cells = (): CellResult[] =>
    (existsSync(log) ? readFileSync(log, 'utf8') : '')
      .split('\n')
      .filter((line) => line.startsWith('{"type":"cell"'))
      .map((line) => JSON.parse(line) as CellResult);
  while (cells().length === 0 && runner.exitCode === null) await sleep(20);
  process.kill(-runner.pid!, signal);
  await ended;
  return cells();
}

void t.test('an interrupted run finishes its cells, with no false crash, and leaves nothing', { skip }, async (t) => {
  const cells = await interrupted(join(t.testdir(), 'log'), 'SIGINT');
  t.ok(cells.length > 0 && cells.length < 4, 'interrupted midway');
  for (const { verdict, predicted, hosts, reasons } of cells)
    t.equal(verdict, predicted, hosts.join(' > '), { reasons });
  t.same(await leftBehind(), []);
  t.same(filesLeft(), []);
});

void t.test('a run that is killed leaves no process, here or there', { skip }, async (t) => {
  await interrupted(join(t.testdir(), 'log'), 'SIGKILL');
  t.same(await leftBehind(), []);
});

void t.test('an agent that listens and a link that nobody used end with their session', { skip }, async (t) => {
  Object.assign(process.env, sshd.env);
  await using host = await openSshHost('peer');
  const session = await host.open();
  const path = join(sshd.env.TMPDIR!, 'made', 'there.sock');
  const request = {
    ...{ identity: structuredClone(identityToJson(NEHALEM.identity)) as never, msrs: [], fault: null },
    ...{ allowAltered: true, forceFeatures: true },
  };
  await session.agent.call('listen', { ...request, socket: path });
  await t.rejects(session.socket('listen', path), { code: 'ssh-socket', message: /^ssh:peer: .*EADDRINUSE/ });
  await t.rejects(session.socket('connect', `${path}.not`), { code: 'ssh-socket', message: /^ssh:peer: .*ENOENT/ });
  const link = await session.socket('listen', `${path} with 'quotes'`);
  t.ok(existsSync(`${path} with 'quotes'`));
  await new Promise((resolve) => link.once('close', resolve).destroy());
  await session[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
  t.same(await leftBehind(), []);
  t.notOk(existsSync(dirname(path)), 'the folder that it made is gone');
});

/** The host, which dies as soon as the destination answers the offer of a guest that migrates. */
function dying(host: Host): Host {
  const session = async (): Promise<AgentSession> => {
    const { agent, socket, ...rest } = await host.warm();
    return {
      ...rest,
      agent,
      socket: async (...args) => {
        const stream = await socket(...args);
        return stream.once('data', () => sshd.killSessions());
      },
      [Symbol.asyncDispose]: () => rest[Symbol.asyncDispose](),
    };
  };
  return {
    ...host,
    summary: host.summary,
    capabilities: host.capabilities,
    concurrent: true,
    warm: session,
    open: session,
    [Symbol.asyncDispose]: async () => {},
  };
}

for (const direction of ['to', 'from'] as const)
  void t.test(`a host that dies under a migration ${direction} it: crashed, at once`, { skip }, async (t) => {
    Object.assign(process.env, sshd.env);
    const local = await openLocalHost();
    const peer = await openSshHost('peer');
    t.teardown(async () => {
      await local[Symbol.asyncDispose]();
      await peer[Symbol.asyncDispose]();
    });
    const path = direction === 'to' ? [local, dying(peer)] : [dying(peer), local];
    const { result } = await runCell(
      { ...NEHALEM, hosts: path, scenario: 'migrate' },
      { allowAltered: true, forceFeatures: true, jobs: 1 },
    );
    t.equal(result.verdict, 'crashed');
    t.match(result.reasons[0], { message: /link|host ended/ });
    t.ok(result.ms < 10_000, `${result.ms} ms`);
  });

void t.test('a host that cannot serve is refused in one line that names it and why', { skip }, async (t) => {
  Object.assign(process.env, sshd.env);
  const other = `${process.execPath} -e 'console.log(JSON.stringify({schema:"guest-abi/agent/1",version:"0.0.1"}))'`;
  t.teardown(() => sshd.install(OURS));
  for (const [host, command, code, says] of [
    ['peer', other, 'agent-version', /^ssh:peer: the host runs guest-abi 0\.0\.1, this is .*same version there$/],
    ['peer', '/nonexistent', 'ssh-host', /^ssh:peer: .*not found; install guest-abi .* there/],
    ['peer', 'sh -c "echo first >&2; echo second >&2"', 'ssh-host', /^ssh:peer: second$/],
    ['closed', OURS, 'ssh-host', /^ssh:closed: .*Connection refused$/],
    ['-oProxyCommand=x', OURS, 'bad-ssh-host', /^'-oProxyCommand=x' is no ssh destination/],
  ] as const) {
    sshd.install(command);
    await t.rejects(openSshHost(host), { code, message: says });
  }
  const end = await runCli(['verify', '--pair', PAIR, ...named('ssh:peer')], {
    env: { GUEST_ABI_SSH: '/nonexistent/ssh' },
  });
  t.same(end, { code: 3, signal: null, stdout: '', stderr: 'guest-abi: ssh:peer: spawn /nonexistent/ssh ENOENT\n' });
  t.same(await leftBehind(), []);
});
