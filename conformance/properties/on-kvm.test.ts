/**
 * What must hold for every pair on this machine's KVM, whatever it offers or alters: the guest sees what KVM says it shows; what KVM
 * alters is its own bits over the table's; a guest that moved sees what it saw before.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type CpuidField, type CpuidTable, fieldName, REGISTERS } from '../../corpora/cpuid.js';
import { featureName } from '../../corpora/features.js';
import { hex32 } from '../../corpora/hex.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import { type VcpuObservation, vcpuObservationFromJson } from '../../corpora/observation.js';
import type { Reason } from '../../corpora/verdict.js';
import { loadVolatility } from '../../corpora/volatility/volatility.js';
import { derivedTable, POWER_ON } from '../../reference-vmm/cpu-model/derived.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { hostCapabilities } from '../../reference-vmm/kvm/capabilities.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { migrateIn } from '../../reference-vmm/migration/destination.js';
import { migrateOut } from '../../reference-vmm/migration/source.js';
import { connectMigration, listenForMigration } from '../../reference-vmm/migration/transport.js';
import { readSnapshot, writeSnapshot } from '../../reference-vmm/snapshot/file.js';
import { type CompareContext, compareDumps, compareVcpu } from '../compare.js';
import { createGuest, ProbeGuest } from '../hosts/agent/guest.js';
import type { Outcome } from '../hosts/agent/protocol.js';
import { msrExpectation } from '../probe-msrs.js';
import { closedPair, type GeneratedPair } from './arbitraries.js';
import { holds } from './property.js';

const kvm = needsKvm.skip ? null : openKvm();
const folder = mkdtempSync(join(tmpdir(), 'properties-'));
t.teardown(() => {
  kvm?.[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

const context: CompareContext = {
  volatility: loadVolatility(),
  nameOf: featureName,
  step: 'property',
  answerer: 'kvm',
};
const messages = (reasons: readonly Reason[]): string[] => reasons.map(({ message }) => message);

type Running = Extract<Outcome, { kind: 'running' }>;

/** A guest of the pair, ready to boot or to take a state; null where this host cannot give it even so (another XSAVE layout). */
function guestOf(
  identity: CpuIdentity,
): { guest: ProbeGuest; readBack: CpuidTable; altered: readonly Reason[] } | null {
  const msrs = msrExpectation(identity, [hostCapabilities(kvm!)]).asked.map(hex32);
  const created = createGuest(kvm!, identity, { allowAltered: true, forceFeatures: true, msrs }, 'property');
  if (created.kind === 'refused') {
    assert.ok(created.reasons.length > 0);
    return null;
  }
  return { guest: new ProbeGuest(created), readBack: created.readBack[0]!, altered: created.altered };
}

function dumpOf(outcome: Outcome): VcpuObservation {
  assert.equal(outcome.kind, 'running', JSON.stringify(outcome).slice(0, 500));
  return vcpuObservationFromJson((outcome as Running).vcpus[0]!);
}

/** How many of the generated pairs ran: a property that nothing is tried on proves nothing. */
let ran = 0;

/** `check` on each generated pair that this host gives. */
const onGuests =
  (check: (identity: CpuIdentity, made: NonNullable<ReturnType<typeof guestOf>>) => Promise<void>) =>
  async (pair: GeneratedPair): Promise<void> => {
    const identity = resolve(pair);
    const made = guestOf(identity);
    if (!made) return;
    ran++;
    using _ = made.guest;
    await check(identity, made);
  };

void t.test(
  'ABI-CPUID-001: the guest sees what KVM_GET_CPUID2 says: bit for bit as it starts, and by every rule',
  needsKvm,
  async (t) => {
    ran = 0;
    await holds(
      t,
      closedPair,
      onGuests(async (_identity, { guest, readBack }) => {
        const seen = dumpOf(await guest.boot());
        for (const row of seen.cpuid) {
          const held = readBack.get(row.leaf, row.subleaf);
          if (held) assert.deepEqual(row, held);
        }
        const expected = {
          index: 0,
          apicId: seen.apicId,
          cpuid: readBack,
          msrs: [],
          rowsBeyondMaximum: 'not-compared',
        } as const;
        assert.deepEqual(messages(compareVcpu({ ...expected, otherMsrs: 'not-compared' }, seen, context)), []);
      }),
      { seed: 1, runs: 40 },
    );
    t.ok(ran >= 20, `${ran} ran`);
  },
);

/** What this kernel shows of its own in a field, whatever the table; it was asked with a table that has x87 and SSE in leaf 0xD. */
const ownBits = ({ leaf, subleaf, register }: CpuidField): number => {
  const { cpuidAdditions, supportedCpuid } = hostCapabilities(kvm!);
  const leastAsked = leaf === 0xd ? supportedCpuid.value(leaf, subleaf, register) : 0;
  return cpuidAdditions.value(leaf, subleaf, register) | leastAsked;
};

/** Fields that are sizes, computed from others. */
const SIZES = new Set(['D.0.EBX', 'D.0.ECX', 'D.1.EBX']);

/** Throws where a bit that KVM read back is neither the table's nor the kernel's own, or where the field is named and not altered, or altered and not named. */
function checkField(field: CpuidField, table: CpuidTable, readBack: CpuidTable, named: boolean): void {
  const { leaf, subleaf, register } = field;
  const [given, got] = [table, readBack].map((one) => one.value(leaf, subleaf, register)) as [number, number];
  const name = fieldName(field);
  assert.equal(named, given !== got, `${name} is named where it was altered`);
  const own = ownBits(field);
  const neither = SIZES.has(name) ? 0 : ((got ^ given) & (got ^ own)) >>> 0;
  assert.equal(neither, 0, `${name}: table ${hex32(given)}, kernel's own ${hex32(own)}, shown ${hex32(got)}`);
}

void t.test(
  'ABI-HOST-002: what KVM alters is known before the first run and named; each bit of it is of the table or of the kernel',
  needsKvm,
  async (t) => {
    ran = 0;
    await holds(
      t,
      closedPair,
      onGuests(async (identity, { readBack, altered }) => {
        const table = derivedTable(identity.vcpus[0]!.cpuid, POWER_ON);
        const named = new Set(altered.map(({ leaf, subleaf, register }) => `${leaf} ${subleaf} ${register}`));
        for (const { leaf, subleaf } of [...readBack.rows, ...table.rows])
          for (const register of REGISTERS) {
            const key = `${hex32(leaf)} ${subleaf === null ? null : hex32(subleaf)} ${register}`;
            checkField({ leaf, subleaf, register }, table, readBack, named.has(key));
          }
      }),
      { seed: 2, runs: 40 },
    );
    t.ok(ran >= 20, `${ran} ran`);
  },
);

void t.test('ABI-CPUID-001: a CPU without an APIC shows none, after a reset too', needsKvm, async (t) => {
  for (const cpu of ['486', 'Nehalem,-apic']) {
    const made = guestOf(resolve({ machine: 'pc-1.0', cpu }));
    if (!made) return void t.fail(`${cpu} was refused`);
    using guest = made.guest;
    for (const outcome of [await guest.boot(), await guest.command('reset-port')]) {
      const { cpuid } = dumpOf(outcome);
      t.equal((cpuid.find(({ leaf }) => leaf === 1)!.edx >>> 9) & 1, 0, cpu);
    }
  }
});

/** Boots a guest, moves its state by `move` into a second one, and compares what both saw. */
const keepsItsCpu = (move: (source: ProbeGuest, identity: CpuIdentity, destination: ProbeGuest) => Promise<Reason[]>) =>
  onGuests(async (identity, { guest }) => {
    const before = dumpOf(await guest.boot());
    const second = guestOf(identity);
    assert.ok(second);
    using destination = second.guest;
    assert.deepEqual(messages(await move(guest, identity, destination)), []);
    const after = dumpOf(await destination.command('dump'));
    assert.deepEqual(after.cpuid, before.cpuid);
    assert.equal(after.sequence, before.sequence + 1);
    assert.deepEqual(messages(compareDumps(before, after, { ...context, sameBoot: true })), []);
  });

void t.test('ABI-STATE-003: snapshot and restore: the guest sees what it saw', needsKvm, async (t) => {
  ran = 0;
  const file = join(folder, 'guest.snapshot');
  await holds(
    t,
    closedPair,
    keepsItsCpu(async (source, _identity, destination) => {
      writeSnapshot(file, source.saveState());
      return destination.loadState(readSnapshot(file));
    }),
    { seed: 3, runs: 16 },
  );
  t.ok(ran >= 8, `${ran} ran`);
});

void t.test('ABI-STATE-003: migration: the guest sees what it saw', needsKvm, async (t) => {
  ran = 0;
  await holds(
    t,
    closedPair,
    keepsItsCpu(async (source, _identity, destination) => {
      const uri = `unix:${join(folder, `socket-${ran}`)}`;
      const { connection } = await listenForMigration(uri);
      const [sent, arrival] = await Promise.all([
        migrateOut(source.live, await connectMigration(uri), uri),
        migrateIn(await connection, uri, () => destination.live),
      ]);
      assert.equal(sent.kind, 'completed');
      assert.equal(arrival.kind, 'arrived');
      return [];
    }),
    { seed: 4, runs: 16 },
  );
  t.ok(ran >= 8, `${ran} ran`);
});
