/** Tests of lab hosts as scenarios use them: warm agents, and what becomes of a host that is killed or hangs. Skipped where the cache is empty. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import t from 'tap';
import { parseSmp } from '../../../corpora/smp.js';
import { resolve } from '../../../reference-vmm/cpu-model/resolve.js';
import { runCell } from '../../run/runner.js';
import { AgentGone, AgentSilent } from '../agent/client.js';
import { bridgeSockets } from '../bridge.js';
import { brokenAfterBoot, cachedHost } from './fixtures.js';

// Emulated hosts on a busy machine.
t.setTimeout(600_000);

/** A folder for this test alone, so that what is left in it is ours. */
process.env.TMPDIR = mkdtempSync(join(tmpdir(), 'lab-test-'));
t.teardown(() => rmSync(process.env.TMPDIR!, { recursive: true, force: true }));
const folders = (): string[] => readdirSync(process.env.TMPDIR!);

const OPTIONS = { allowAltered: false, forceFeatures: false, jobs: 1 } as const;

const { host, why } = await cachedHost('5.10/EPYC');
const needsLab = host ? { timeout: 240_000 } : { skip: why };

void t.test('a real KVM of a Debian kernel that keeps the CPUID table it is given', needsLab, async (t) => {
  t.match(host!.summary, { module: 'kvm_amd', note: /^ready in/ });
  t.equal(host!.capabilities.cpuidAdditions.size, 0);
  t.ok(host!.capabilities.msrIndices.length > 50);
});

void t.test(
  'sessions open at once have different agents; an agent that was given back serves again',
  needsLab,
  async (t) => {
    const [one, two] = await Promise.all([host!.warm(), host!.warm()]);
    t.not(one.agent, two.agent);
    await one[Symbol.asyncDispose]();
    const three = await host!.warm();
    t.equal(three.agent, one.agent);
    const fresh = await host!.open();
    t.notOk([one, two].some(({ agent }) => agent === fresh.agent));
    for (const session of [two, three, fresh]) await session[Symbol.asyncDispose]();
  },
);

void t.test('files and sockets of a host are reached', needsLab, async (t) => {
  const [source, destination] = await Promise.all([host!.warm(), host!.warm()]);
  const bytes = randomBytes(300_000);
  await source.agent.call('put', { file: '/tmp/given/file', gzip: gzipSync(bytes).toString('base64') });
  const { gzip } = await destination.agent.call('fetch', { file: '/tmp/given/file' });
  t.ok(gunzipSync(Buffer.from(gzip, 'base64')).equals(bytes));
  const bridge = await bridgeSockets(source, destination, '/tmp/nobody/listens');
  await bridge[Symbol.asyncDispose]();
  for (const session of [source, destination]) await session[Symbol.asyncDispose]();
});

void t.test(
  'a host that is killed under a request says so, and the next session boots another',
  needsLab,
  async (t) => {
    const session = await host!.warm();
    const pid = await host!.pid();
    const asked = session.agent.call('capture', {}, 60_000);
    process.kill(pid, 'SIGKILL');
    await t.rejects(asked, AgentGone);
    await session[Symbol.asyncDispose]();
    const next = await host!.warm();
    t.match(await next.agent.call('capture', {}), { facts: { module: 'kvm_amd' } });
    t.not(await host!.pid(), pid);
    await next[Symbol.asyncDispose]();
  },
);

void t.test(
  'vCPUs without EFER start whole: Linux 5.10 left out instructions of every fifth such cell',
  needsLab,
  async (t) => {
    const smp = '8c4t2';
    const identity = resolve({ machine: 'pc-i440fx-2.2', cpu: 'qemu32', smp: parseSmp(smp) });
    const { result } = await runCell({ identity, smp, scenario: 'reset', hosts: [host!] }, OPTIONS);
    t.match(result, { verdict: 'identical' });
  },
);

void t.test('QEMU is killed under a cell: crashed, with what the host said', needsLab, async (t) => {
  const killed = brokenAfterBoot(host!, async () => void process.kill(await host!.pid(), 'SIGKILL'));
  const identity = resolve({ machine: 'pc-i440fx-1.6', cpu: 'Nehalem' });
  const cell = { identity, smp: '1', scenario: 'reset' } as const;
  const { result } = await runCell({ ...cell, hosts: [killed] }, OPTIONS);
  t.match(result, { verdict: 'crashed', predicted: 'identical', reasons: [{ message: /host ended/ }] });
});

void t.test('a host that hangs is silent, then replaced', needsLab, async (t) => {
  const session = await host!.warm();
  const pid = await host!.pid();
  process.kill(pid, 'SIGSTOP');
  await t.rejects(session.agent.call('capture', {}, 500), AgentSilent);
  await session[Symbol.asyncDispose]();
  const next = await host!.warm();
  t.not(await host!.pid(), pid);
  await next[Symbol.asyncDispose]();
});

void t.test('an ended host leaves nothing and gives no session', needsLab, async (t) => {
  const pid = await host!.pid();
  await host![Symbol.asyncDispose]();
  t.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  t.same(folders(), []);
  await t.rejects(host!.warm(), { code: 'lab-host-ended' });
});
