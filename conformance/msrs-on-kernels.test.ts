/** MSRs on real kernels: one table whatever the kernel, and what a guest wrote to all of them moves between the oldest and the newest. */
import t from 'tap';
import { GuestAbiError } from '../corpora/errors.js';
import { hex32, hex64 } from '../corpora/hex.js';
import { legalWrites } from '../reference-vmm/cpu-model/msr-values.js';
import { resolve } from '../reference-vmm/cpu-model/resolve.js';
import type { Outcome } from './hosts/agent/protocol.js';
import type { Host } from './hosts/host.js';
import { labKernels } from './hosts/lab/kernels.js';
import { openLabHosts } from './hosts/lab/pool.js';
import { sweepReads, sweptMsrs } from './msr-reads.js';
import { request } from './msr-writes.js';

// Emulated hosts on a busy machine.
t.setTimeout(600_000);

const MACHINE = 'pc-i440fx-7.2';
/** The oldest, a middle and the newest kernel of the cache, on the lab's richest CPU. */
const HOSTS = 3;
/** All run on the lab's richest CPU with at most two features forced. */
const MODELS = [
  ...['486', 'pentium', 'pentium2', 'pentium3', 'qemu32', 'qemu64', 'kvm32', 'kvm64', 'athlon', 'phenom', 'Conroe'],
  ...['Penryn', 'Nehalem', 'Westmere', 'SandyBridge', 'Opteron_G1', 'Opteron_G3', 'Opteron_G5', 'EPYC', 'EPYC-Rome'],
];

type Seen = Map<number, string>;
function seenBy(outcome: Outcome): Seen {
  if (outcome.kind !== 'running') throw new Error(JSON.stringify(outcome));
  return new Map(outcome.vcpus[0]!.msrs.map((msr) => [Number(msr.index), 'fault' in msr ? msr.fault : msr.value]));
}

/** The hosts, once for all tests; or why there are none. */
async function openHosts(): Promise<readonly Host[] | string> {
  try {
    const kernels = await labKernels();
    const chosen = Array.from(
      { length: HOSTS },
      (_, i) => kernels[Math.round((i * (kernels.length - 1)) / (HOSTS - 1))],
    );
    const opened = await openLabHosts(chosen.map((kernel) => `${kernel?.id ?? '*'}/rich`));
    t.teardown(() => Promise.all(opened.map((host) => host[Symbol.asyncDispose]())));
    return opened;
  } catch (error) {
    if (!(error instanceof GuestAbiError)) throw error;
    return error.message;
  }
}

const opened = await openHosts();
const hosts = typeof opened === 'string' ? [] : opened;
const options = { skip: typeof opened === 'string' && opened, timeout: 600_000 };

void t.test('20 models: the MSRs that read, and what they hold, are one on every kernel', options, async (t) => {
  for (const cpu of MODELS) {
    const identity = resolve({ machine: MACHINE, cpu });
    const sweeps = await Promise.all(hosts.map((host) => sweepReads(host, identity, sweptMsrs('cheap'), hosts)));
    for (const [i, { seen, findings }] of sweeps.entries()) {
      t.same(findings, [], `${cpu} on ${hosts[i]!.summary.id}`);
      t.same(seen, sweeps[0]!.seen);
    }
    t.ok(sweeps[0]!.seen.size > 480, `${sweeps[0]!.seen.size} MSRs`);
  }
});

void t.test('a sweep finds no MSR that is not of the identity', options, async (t) => {
  const identity = resolve({ machine: MACHINE, cpu: 'EPYC' });
  for (const host of [hosts[0]!, hosts[2]!]) {
    const { seen, findings } = await sweepReads(host, identity, sweptMsrs('expensive'));
    t.ok(seen.size > 29_000);
    t.same(findings, [], host.summary.id);
  }
});

/** RAM that the probe does not use. */
const SPARE = { page: 0x3ff000 };

const isTscMismeasured = (outcome: Outcome): boolean =>
  outcome.kind === 'refused' && outcome.reasons.every(({ code }) => code === 'tsc-frequency');

void t.test('what a guest wrote to all its MSRs is there from 5.10 to 7.3 and back', options, async (t) => {
  const identity = resolve({ machine: MACHINE, cpu: 'Nehalem' });
  const writes = legalWrites(identity, SPARE);
  const asked = writes.map(({ index }) => index);
  const wanted = new Map(writes.map(({ index, value }) => [index, hex64(value)]));
  const [old, , young] = hosts as readonly [Host, Host, Host];
  const file = '/tmp/all-msrs.snapshot';
  await using first = await old.open();
  await first.agent.call('boot', request(identity, asked), 120_000);
  let last: Outcome | null = null;
  for (const { index, value } of writes)
    last = await first.agent.call('write-msr', { index: hex32(index), value: hex64(value) }, 120_000);
  t.same(seenBy(last!), wanted, 'on 5.10, where it was written');
  await first.agent.call('save', { file }, 120_000);
  let { gzip } = await first.agent.call('fetch', { file }, 120_000);
  for (const host of [young, old]) {
    await using session = await host.open();
    await session.agent.call('put', { file, gzip }, 120_000);
    const arrived = await session.agent.call('restore', { ...request(identity, asked), file }, 120_000);
    if (isTscMismeasured(arrived)) return t.comment('skipped: a busy emulated host measured its TSC wrong');
    t.same(seenBy(arrived), wanted, `on ${host.summary.id}`);
    await session.agent.call('save', { file }, 120_000);
    ({ gzip } = await session.agent.call('fetch', { file }, 120_000));
  }
});
