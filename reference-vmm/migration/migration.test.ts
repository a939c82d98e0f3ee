import t from 'tap';
import { CpuidTable } from '../../corpora/cpuid.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import { flatMachine, needsKvm, noNames, smpIdentity } from '../fixtures.js';
import { gpa } from '../kvm/guest-memory.js';
import { type Faults, injectFaults } from '../kvm/inject.js';
import { openKvm } from '../kvm/system.js';
import { LiveMachine } from '../live-machine.js';
import { writeSnapshot } from '../snapshot/file.js';
import { restoreSnapshot } from '../snapshot/restore.js';
import type { Realizer } from './destination.js';
import { migrate, moved, passOf, realizer, runsOn, standsStill, WINDOW, writer, writerCode } from './fixtures.js';
import { DEFAULT_PARAMETERS } from './parameters.js';
import { MigrationProgress } from './progress.js';
import { rehearseSending } from './rehearsal.js';
import { rehearseLink } from './rehearse-link.js';

const parameters = { ...DEFAULT_PARAMETERS, 'silence-limit': 5000 };

const ANY = { allowAltered: true, forceFeatures: true };

/** But for CPUID 1.EAX[0]. */
function otherStepping(identity: CpuIdentity): CpuIdentity {
  const [vcpu] = identity.vcpus;
  const rows = vcpu!.cpuid.rows.map((row) => (row.leaf === 1 ? { ...row, eax: row.eax ^ 1 } : row));
  return { ...identity, vcpus: [{ ...vcpu!, cpuid: new CpuidTable(rows) }] };
}

const TSC = 0x10;
/** TSC and kvmclock of a machine that runs. */
function clocks(live: LiveMachine): [tsc: bigint, clock: bigint] {
  live.pause();
  const { vcpus, clock } = live.saveCore();
  live.resume();
  return [vcpus[0]!.msrs.find(({ index }) => index === TSC)!.value, clock.clock];
}

void t.test(
  'a guest that writes moves to another machine and on, loses no write, and its clocks go on',
  needsKvm,
  async (t) => {
    using kvm = openKvm();
    let machine = writer(kvm, 64);
    await runsOn(machine);
    for (const hop of ['A to B', 'B to C', 'C to A']) {
      const progress = new MigrationProgress();
      const start = performance.now();
      const [tsc, clock] = clocks(machine);
      const next = await moved(machine, realizer(kvm), { parameters, progress });
      t.equal(machine.state, 'paused', `${hop}: the source stands still`);
      machine[Symbol.dispose]();
      await runsOn(next, 3);
      const [laterTsc, laterClock] = clocks(next);
      const elapsed = BigInt(Math.ceil((performance.now() - start) * 1e6));
      t.ok(laterTsc > tsc && laterClock > clock, `${hop}: ${tsc} to ${laterTsc}, ${clock} to ${laterClock}`);
      t.ok(laterClock - clock <= elapsed, `${hop}: the clock is not ahead of the time`);
      t.match(progress, { status: 'completed', rounds: Number, downtimeMs: Number });
      t.ok(progress.pages.full >= 64, `${hop}: ${progress.pages.full} pages`);
      machine = next;
    }
    machine[Symbol.dispose]();
  },
);

void t.test(
  'a side that its owner disposes of under way ends with an error, and touches no memory that is gone',
  needsKvm,
  async (t) => {
    for (const side of ['destination', 'source'] as const)
      for (const stage of [2, 3]) {
        using kvm = openKvm();
        using there = openKvm();
        using source = writer(kvm, 64);
        await runsOn(source);
        let chunks = 0;
        const ends = await migrate(source, realizer(there), {
          parameters: { ...parameters, 'silence-limit': 500, 'max-bandwidth': 1_000_000 },
          tamper: (chunk, to) => {
            if (to === 'destination' && ++chunks === stage) (side === 'source' ? source : there)[Symbol.dispose]();
            return chunk;
          },
        });
        t.equal(ends.source.status, 'rejected', `${side} gone at ${stage}: source`);
        t.equal(ends.destination.status, 'rejected', `${side} gone at ${stage}: destination`);
        t.match((ends[side] as PromiseRejectedResult).reason, { code: /^(guest-ended|migration-link)$/ });
        if (side === 'destination') await runsOn(source);
      }
  },
);

void t.test('a paused guest moves and stays paused', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = writer(kvm, 8);
  await runsOn(source);
  source.pause();
  using there = await moved(source, realizer(kvm));
  t.equal(there.state, 'paused');
  t.equal(passOf(there), passOf(source));
  t.ok(await standsStill(there));
  there.resume();
  await runsOn(there);
});

void t.test('nobody lets a guest run, or resets it, here while and after it is handed over', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = writer(kvm, 8);
  await runsOn(source);
  source.pause();
  const refused = { code: 'guest-held' };
  const tries = (): void => {
    t.throws(() => source.resume(), refused);
    t.throws(() => source.reset(), refused);
  };
  let underWay = 0;
  const tamper = (chunk: Buffer): Buffer => {
    if (source.held && underWay++ === 0) tries();
    return chunk;
  };
  const { destination } = await migrate(source, realizer(kvm), { tamper });
  if (destination.status === 'rejected' || destination.value.kind !== 'arrived')
    return void t.fail('it did not arrive');
  using there = destination.value.machine;
  t.ok(underWay > 0);
  tries();
  t.ok(await standsStill(source));
  t.equal(passOf(there), passOf(source));
});

void t.test('a link is rehearsed to its end; a state that no side takes ends the rehearsal', needsKvm, async (t) => {
  using kvm = openKvm();
  using live = new LiveMachine(flatMachine(kvm, writerCode(4)));
  const [core, facts] = [rehearseSending(live), live.travelFacts()];
  t.equal(await rehearseLink(core, facts), true);
  t.equal(await rehearseLink({ ...core, memoryBytes: 4097 }, facts), false);
});

void t.test('a guest that its owner stops while it is copied arrives stopped', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = writer(kvm, 64);
  await runsOn(source);
  const progress = new MigrationProgress();
  const tamper = (chunk: Buffer, to: 'destination' | 'source'): Buffer => {
    if (progress.status === 'active' && to === 'destination') source.pause();
    return chunk;
  };
  const slow = { ...parameters, 'max-bandwidth': 2_000_000, 'downtime-limit': 1 };
  const { destination } = await migrate(source, realizer(kvm), { parameters: slow, progress, tamper });
  if (destination.status === 'rejected' || destination.value.kind !== 'arrived')
    return void t.fail('it did not arrive');
  using there = destination.value.machine;
  t.equal(there.state, 'paused');
  t.equal(passOf(there), passOf(source));
});

void t.test('a guest whose memory is mapped from a snapshot moves whole', needsKvm, async (t) => {
  using kvm = openKvm();
  const file = `${t.testdir()}/snapshot`;
  {
    using first = writer(kvm, 64);
    await runsOn(first);
    first.pause();
    writeSnapshot(file, first.machine.saveState());
  }
  const made = restoreSnapshot(kvm, file, { nameOf: noNames, forceFeatures: true, lazy: true });
  if (made.kind === 'refused') return void t.fail(made.reasons[0]!.message);
  using source = new LiveMachine(made.machine);
  source.resume();
  await runsOn(source);
  using there = await moved(source, realizer(kvm));
  await runsOn(there, 5);
});

void t.test('pages of zeros, and pages that hold what was sent, are not sent', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = writer(kvm, 32);
  await runsOn(source);
  source.pause();
  const progress = new MigrationProgress();
  using _ = await moved(source, realizer(kvm), { progress });
  const { full, zero, skipped } = progress.pages;
  t.ok(full + zero + skipped < 100, `${full + zero + skipped} of 2048 pages were touched`);
  // The window, the code, and little else.
  t.ok(full >= 33 && full < 48, `${full} pages`);
  t.equal(zero, 0);
  t.ok(progress.transferred < 64 * 4096 + 40_000, `${progress.transferred} bytes`);
});

void t.test(
  'a refusal reaches both sides with its reasons before the source pauses, and the source goes on',
  needsKvm,
  async (t) => {
    using kvm = openKvm();
    using source = writer(kvm, 8);
    await runsOn(source);
    const refusedBy = async (faults: Faults, code: string, paused = false) => {
      const progress = new MigrationProgress();
      const ends = await migrate(source, realizer(injectFaults(kvm, faults)), { progress });
      if (ends.source.status !== 'fulfilled' || ends.source.value.kind !== 'refused')
        return void t.fail(`${code}: it was not refused: ${JSON.stringify(ends)}`);
      t.match(ends.source.value.reasons, [{ code, step: 'destination' }]);
      t.match(ends.destination, { value: { kind: 'refused', reasons: ends.source.value.reasons } });
      t.equal(progress.rounds > 0, paused, `${code}: refused by the offer alone`);
      await runsOn(source);
    };
    await refusedBy({ refusesMsr: (index) => index === 0x174 }, 'msr-not-settable');
    await refusedBy({ setCpuid2: () => new CpuidTable([]) }, 'cpuid-row-removed');
    await refusedBy(
      { getState: (part, bytes) => (part === 'xsave' ? new Uint8Array(bytes.length + 64) : bytes) },
      'xsave-size',
    );
    await refusedBy(
      { setState: (part, bytes) => (part === 'xsave' ? bytes.subarray(1) : bytes) },
      'state-not-settable',
      true,
    );
    const others: readonly [Realizer, string][] = [
      [realizer(kvm, { memoryBytes: 4 << 20 }), 'other-memory'],
      // A machine that stood already, of one bit otherwise, or with another vCPU.
      [(offer) => realizer(kvm, ANY)({ ...offer, identity: otherStepping(offer.identity) }), 'identity-altered'],
      [(offer) => realizer(kvm, ANY)({ ...offer, identity: smpIdentity('2') }), 'other-machine'],
    ];
    for (const [realize, code] of others) {
      const progress = new MigrationProgress();
      const ends = await migrate(source, realize, { progress });
      t.match(ends.source, { value: { kind: 'refused', reasons: [{ code }] } }, code);
      t.equal(progress.rounds, 0, code);
      await runsOn(source);
    }
  },
);

void t.test(
  'a guest that writes faster than the link: stopped all the same, or left alone, as was asked',
  needsKvm,
  async (t) => {
    using kvm = openKvm();
    using source = writer(kvm, 256);
    await runsOn(source);
    const slow = { ...parameters, 'downtime-limit': 5, 'max-bandwidth': 4_000_000, 'max-rounds': 3 };
    const progress = new MigrationProgress();
    const failed = await migrate(source, realizer(kvm), {
      parameters: { ...slow, 'when-not-converging': 'fail' },
      progress,
    });
    t.match(failed.source, { reason: { code: 'migration-not-converging', exitCode: 3 } });
    t.match(failed.destination, { reason: { code: 'migration-link' } });
    t.match(progress, { status: 'failed', rounds: 3 });
    await runsOn(source);
    const stopped = new MigrationProgress();
    using there = await moved(source, realizer(kvm), { parameters: slow, progress: stopped });
    t.equal(stopped.rounds, 3);
    await runsOn(there);
  },
);

void t.test('a migration can be cancelled at any time up to the hand-over', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = writer(kvm, 64);
  await runsOn(source);
  for (const ms of [0, 1, 5, 20, 60]) {
    const progress = new MigrationProgress();
    const ends = await migrate(source, realizer(kvm), {
      parameters: { ...parameters, 'max-bandwidth': 2_000_000, 'downtime-limit': 1 },
      progress,
      signal: ms === 0 ? AbortSignal.abort() : AbortSignal.timeout(ms),
    });
    t.match(ends.source, { value: { kind: 'cancelled' } }, `after ${ms} ms`);
    t.match(ends.destination, { reason: { code: 'migration-link' } });
    t.equal(progress.status, 'cancelled');
    await runsOn(source);
  }
  using there = await moved(source, realizer(kvm), { parameters });
  await runsOn(there);
});

void t.test('a guest that ends itself meanwhile is not handed over', needsKvm, async (t) => {
  using kvm = openKvm();
  using source = writer(kvm, 64);
  await runsOn(source);
  const ends = migrate(source, realizer(kvm), {
    parameters: { ...parameters, 'max-bandwidth': 1_000_000, 'downtime-limit': 1 },
  });
  await new Promise((resolve) => setTimeout(resolve, 30));
  // A page that is not as the guest left it.
  source.memory.at(gpa(WINDOW + 8 * 4096), 1).fill(0x80);
  t.match((await ends).source, { reason: { code: 'guest-ended' } });
  t.equal(source.state, 'ended');
});

void t.test('a reset on the way: what the monitor wrote itself arrives', needsKvm, async () => {
  using kvm = openKvm();
  using source = writer(kvm, 16);
  await runsOn(source);
  const ends = moved(source, realizer(kvm), {
    parameters: { ...parameters, 'max-bandwidth': 3_000_000, 'downtime-limit': 4, 'max-rounds': 4 },
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  // Stopped, or it writes to a page that is zero already, and misses its own count after the reset.
  source.pause();
  source.memory.at(gpa(WINDOW), 0x1_0000).fill(0);
  source.reset();
  source.resume();
  using there = await ends;
  await runsOn(there);
});
