/** An agent's operations on this machine's KVM, in process: files that are no snapshots, guests that never answer. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { identityToJson } from '../../../corpora/identity.js';
import { COMMAND } from '../../../corpora/probe-abi.js';
import { resolve } from '../../../reference-vmm/cpu-model/resolve.js';
import { needsKvm } from '../../../reference-vmm/fixtures.js';
import { openKvm } from '../../../reference-vmm/kvm/system.js';
import { createGuest, ProbeGuest } from './guest.js';
import { kvmHandlers } from './handlers.js';
import type { Outcome, Params } from './protocol.js';

const requestFor = (machine: string, cpu: string): Params<'boot'> => ({
  identity: structuredClone(identityToJson(resolve({ machine, cpu }))) as never,
  ...{ allowAltered: true, forceFeatures: true, msrs: [], fault: null },
});
const REQUEST = requestFor('pc-i440fx-1.6', 'kvm64');
const OTHER = requestFor('pc-i440fx-2.4', 'kvm64');

const codes = (outcome: Outcome): string[] =>
  outcome.kind === 'refused' ? outcome.reasons.map(({ code }) => code) : [outcome.kind];

void t.test(
  'a snapshot that is cut, changed, foreign or of another pair is refused; nothing runs',
  needsKvm,
  async (t) => {
    const folder = t.testdir();
    const file = join(folder, 'guest.snapshot');
    using source = kvmHandlers();
    using destination = kvmHandlers();
    t.equal((await source.boot(REQUEST)).kind, 'running');
    await source.save({ file });
    const whole = readFileSync(file);
    const refusal = async (name: string, bytes: Uint8Array): Promise<string[]> => {
      const bad = join(folder, name);
      writeFileSync(bad, bytes);
      const outcome = await destination.restore({ ...REQUEST, file: bad });
      await t.rejects(async () => destination.command({ command: 'dump' }), { code: 'no-guest' }, name);
      return codes(outcome);
    };
    for (const length of [0, 1, 23, 24, 1000, whole.length - 33, whole.length - 1])
      t.same(await refusal(`cut-${length}`, whole.subarray(0, length)), ['bad-container'], `${length} bytes`);
    for (let at = 0; at < whole.length; at += 1 + Math.floor(whole.length / 40)) {
      const changed = Buffer.from(whole);
      changed[at]! ^= 1 << (at % 8);
      t.same(await refusal('changed', changed), ['bad-container'], `byte ${at}`);
    }
    t.same(await refusal('longer', Buffer.concat([whole, Buffer.alloc(1)])), ['bad-container']);
    t.same(await refusal('foreign', readFileSync('/proc/self/exe').subarray(0, 10_000)), ['bad-container']);
    const missing = await destination.restore({ ...REQUEST, file: join(folder, 'none') });
    t.same(codes(missing), ['unreadable-file']);
    const other = await destination.restore({ ...OTHER, file });
    t.match(other, {
      kind: 'refused',
      reasons: [{ code: 'other-pair', contract: 'pc-i440fx-2.4/kvm64', guest: 'pc-i440fx-1.6/kvm64' }],
    });
    t.equal((await destination.restore({ ...REQUEST, file })).kind, 'running', 'the whole one is taken');
  },
);

void t.test('operations without a guest, or without a migration, are errors by name', async (t) => {
  using handlers = kvmHandlers();
  await t.rejects(async () => handlers.command({ command: 'dump' }), { code: 'no-guest', exitCode: 2 });
  await t.rejects(async () => handlers.save({ file: '/tmp/never' }), { code: 'no-guest' });
  await t.rejects(async () => handlers.received({}), { code: 'not-listening' });
  t.same(await handlers.close({}), {});
});

void t.test('a probe that never answers is hung, with the place where it was', needsKvm, async (t) => {
  using kvm = openKvm();
  const created = createGuest(kvm, resolve({ machine: 'pc-i440fx-1.6', cpu: 'kvm64' }), REQUEST, 'boot');
  if (created.kind === 'refused') return void t.fail(created.reasons[0]!.message);
  using guest = new ProbeGuest(created, 300);
  t.equal((await guest.boot()).kind, 'running');
  // The rest of this command never comes: the probe polls for it for ever, and takes the next command for a part of it.
  created.machine.sendSerial(Uint8Array.of(COMMAND.writeMsr));
  const start = performance.now();
  const outcome = await guest.command('dump');
  t.equal(outcome.kind, 'hung');
  t.match(outcome, { message: /eip|rip/i });
  t.ok(performance.now() - start < 5000);
});
