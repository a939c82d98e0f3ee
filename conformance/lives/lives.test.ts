import t from 'tap';
import { CpuidTable } from '../../corpora/cpuid.js';
import { hex64 } from '../../corpora/hex.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { withoutBits } from '../../reference-vmm/cpu-model/additions.js';
import { listMachines, listModels, resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import type { AgentClient } from '../hosts/agent/client.js';
import type { AgentSession, Host } from '../hosts/host.js';
import { OverlayHost } from '../hosts/overlay-host.js';
import { committedCaptures, openCapture } from '../hosts/recorded/open-capture.js';
import { RecordedHost } from '../hosts/recorded/recorded-host.js';
import { altersCpuid } from '../hosts/summary.js';
import { GuestLife, UnexpectedStep } from './guest-life.js';
import { movedTooFew, tryLives } from './lives.js';
import { upgradedDefinitions } from './upgrade.js';

const names = committedCaptures();
const recorded = await Promise.all(names.map((name) => RecordedHost.open(name)));
const options = { seed: 1, maxEvents: 24, allowAltered: false, forceFeatures: false, shapes: ['1'] };

void t.test(
  'recorded hosts: every step of every life as predicted, and most guests moved between kernels',
  async (t) => {
    const { finding, distribution } = await tryLives(recorded, { ...options, runs: 30, shapes: ['1', '2,cores=2'] });
    t.equal(finding, null);
    t.equal(distribution.lives, 30);
    t.notOk(movedTooFew(distribution), `${distribution.movedBetweenKernels} moved`);
    t.ok(distribution.refusedMoves, 'moves are refused too');
    for (const event of ['boot', 'migrate', 'restore', 'kernel-update', 'upgrade', 'cold-start', 'write-msr'])
      t.ok(distribution.steps.get(event), event);
    t.notOk(distribution.verdicts.get('identical'), 'nothing that is recorded counts as identical');
  },
);

void t.test('real guests on overlays of captured kernels', needsKvm, async (t) => {
  const hosts = await Promise.all(
    names.slice(0, 4).map(async (name) => OverlayHost.open(name, (await openCapture(name)).host)),
  );
  const allowAltered = hosts.some(({ capabilities }) => altersCpuid(capabilities));
  const { finding, distribution } = await tryLives(hosts, { ...options, runs: 8, allowAltered });
  t.equal(finding, null);
  t.equal(distribution.lives, 8);
});

/** A kernel with a bit that its capture does not tell of: the guest would see it, the monitor reads it back. */
async function changedKernel(name: string, change: (host: HostCapabilities) => HostCapabilities): Promise<Host> {
  const { host } = await openCapture(name);
  const honest = await RecordedHost.open(name);
  const changed = new RecordedHost(`${name}, changed`, change(host));
  return {
    ...{ summary: changed.summary, capabilities: honest.capabilities, concurrent: true },
    open: () => changed.open(),
    warm: () => changed.open(),
    [Symbol.asyncDispose]: () => changed[Symbol.asyncDispose](),
  };
}

void t.test('a kernel that changed is found in the shortest life, and again by what is told of it', async (t) => {
  const rdrand = new CpuidTable([{ leaf: 1, subleaf: null, eax: 0, ebx: 0, ecx: 1 << 30, edx: 0 }]);
  const adds = await changedKernel(names[0]!, (host) => ({ ...host, cpuidAdditions: rdrand }));
  const lacks = await changedKernel(names[0]!, (host) => ({
    ...host,
    supportedCpuid: withoutBits(host.supportedCpuid, rdrand),
  }));
  for (const [host, why] of [
    [adds, /\(rdrand\): contract 0, kernel shows 1/],
    [lacks, /\(rdrand\): contract 1, host offers 0/],
  ] as const) {
    const tried = { ...options, runs: 100 };
    const { finding } = await tryLives([recorded[0]!, host], tried);
    if (!finding) return void t.fail('not found');
    t.match(finding.why, why);
    t.match(finding.why, /refused, predicted identical/);
    t.ok(finding.life.split(': ')[1]!.split(',').length <= 2, finding.life);
    const { path, replayPath } = finding;
    const again = await tryLives([recorded[0]!, host], { ...tried, replay: { path, replayPath } });
    t.equal(again.finding?.life, finding.life);
    t.equal(again.finding?.why, finding.why);
  }
});

/** A host whose guests read these values of their TSC, dump after dump. */
function clockedHost(host: Host, reads: readonly bigint[]): Host {
  const left = [...reads];
  const clocked = (session: AgentSession): AgentSession => {
    const agent: AgentClient = Object.create(session.agent);
    const call = async (...request: Parameters<AgentClient['call']>): Promise<unknown> => {
      const answer = (await session.agent.call(...request)) as {
        vcpus?: { msrs: { index: string; value: string }[] }[];
      };
      for (const tsc of answer.vcpus?.flatMap(({ msrs }) => msrs).filter(({ index }) => Number(index) === 0x10) ?? [])
        tsc.value = hex64(left.shift()!);
      return answer;
    };
    return { ...session, agent: Object.assign(agent, { call }) };
  };
  return { ...host, open: async () => clocked(await host.open()), warm: async () => clocked(await host.warm()) };
}

const eventsOf = (life: GuestLife): string[] => life.steps.map(({ event }) => event);

void t.test("a guest's time goes on from dump to dump, and begins anew with a boot", async (t) => {
  const { summary, capabilities } = recorded[0]!;
  const identity = resolve({ machine: 'pc-i440fx-2.2', cpu: 'Nehalem' });
  const begin = (reads: readonly bigint[]): Promise<GuestLife> => {
    const host = {
      summary,
      capabilities,
      concurrent: true,
      open: () => recorded[0]!.open(),
      warm: () => recorded[0]!.open(),
    };
    const hosts = [clockedHost({ ...host, [Symbol.asyncDispose]: async () => {} }, reads)];
    return GuestLife.begin({ ...options, identity, smp: '1', hosts });
  };
  await using slow = await begin([5_000n, 100n, 200n]);
  await slow.reset('reset-port');
  await slow.dump();
  t.same(eventsOf(slow), ['boot', 'reset-port', 'dump'], 'a boot that began late is no measure for the next');
  await using saved = await begin([5_000n, 7_000n, 7_100n, 6_000n]);
  await saved.liveSnapshot();
  await saved.restore(0);
  t.same(
    eventsOf(saved),
    ['boot', 'live-snapshot', 'dump', 'restore'],
    'who is restored is younger than who was saved meanwhile',
  );
  await using back = await begin([5_000n, 7_000n, 6_000n]);
  await back.dump();
  await t.rejects(back.dump(), { constructor: UnexpectedStep, message: /MSR 0x00000010 ran from 7000 to 6000/ });
});

void t.test('an upgrade of the definitions changes no released pair, and does change what is new', async (t) => {
  const upgraded = upgradedDefinitions('Nehalem', 11);
  t.ok(listModels('pc-i440fx-11.1', upgraded).length > listModels('pc-i440fx-11.1').length);
  t.notSame(
    resolve({ machine: 'pc-next', cpu: 'Nehalem', definitions: upgraded }),
    resolve({ machine: 'pc-next', cpu: 'Nehalem' }),
  );
  for (const { name: machine } of listMachines().filter(({ name }) => /-(2\.3|6\.0|11\.1)$/.test(name)))
    t.same(resolve({ machine, cpu: 'Nehalem', definitions: upgraded }), resolve({ machine, cpu: 'Nehalem' }), machine);
});
