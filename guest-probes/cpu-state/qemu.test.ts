/** The cpu-state probe under a real QEMU: every machine kind, old and new CPUs, several vCPUs, every command. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { MsrValue } from '../../corpora/identity.js';
import type { VcpuObservation } from '../../corpora/observation.js';
import { COMMAND, encodeProbeRequest, encodeWrite, type ProbeRequest, SHUTDOWN_CODE } from '../../corpora/probe-abi.js';
import { probeImagePath } from '../images.js';
import type { ProbeRecord } from '../observation.js';
import { RecordAssembler } from '../record-assembler.js';
import { sweepCpuid } from '../sweep.js';

const QEMU = 'qemu-system-x86_64';
const skip = spawnSync(QEMU, ['--version']).status !== 0 && `${QEMU} is not installed`;

interface Run {
  readonly machine?: string;
  readonly cpu?: string;
  /** `-smp`. */
  readonly smp?: string;
  readonly request?: ProbeRequest;
  /** Bytes for COM1; COMMAND.shutdown is added. */
  readonly commands?: readonly number[];
}

/** Boots the probe under TCG and returns its records. */
function boot(
  t: Test,
  { machine = 'pc', cpu = 'qemu64', smp = '1', request = { msrs: [] }, commands = [] }: Run,
): ProbeRecord[] {
  const folder = t.testdir({});
  const [output, module] = [join(folder, 'records'), join(folder, 'request')];
  writeFileSync(module, encodeProbeRequest(request));
  const args = [
    ...['-accel', 'tcg', '-machine', machine, '-cpu', cpu, '-smp', smp, '-m', '32'],
    ...['-nodefaults', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
    ...['-kernel', probeImagePath('cpu-state'), '-initrd', module],
    ...['-chardev', `file,id=probe,path=${output}`, '-device', 'isa-debugcon,iobase=0xe9,chardev=probe'],
    ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=4'],
  ];
  const input = Buffer.from([...commands, COMMAND.shutdown]);
  const { status, stderr }: SpawnSyncReturns<Buffer> = spawnSync(QEMU, args, { input, timeout: 60_000 });
  t.equal(status, (SHUTDOWN_CODE << 1) | 1, `QEMU ends through debug-exit: ${stderr.toString()}`);
  const assembler = new RecordAssembler();
  const records = assembler.push(readFileSync(output));
  t.equal(assembler.pending, 0, 'nothing but whole records');
  return records;
}

/** Replays the TypeScript sweep on what the guest read: it must ask the same places in the same order. */
function replay(seen: VcpuObservation): VcpuObservation['cpuid'] {
  const answers = new Map(seen.cpuid.map((row) => [`${row.leaf}.${row.subleaf ?? 0}`, row]));
  return sweepCpuid((leaf, subleaf) => {
    const answer = answers.get(`${leaf}.${subleaf}`);
    if (!answer) throw new Error(`the probe never asked ${leaf.toString(16)}.${subleaf}`);
    return answer;
  });
}

for (const machine of ['pc', 'q35', 'microvm']) {
  void t.test(`boots on ${machine}`, { skip }, async (t) => {
    const records = boot(t, { machine, commands: [COMMAND.dump], request: { msrs: [0x277, 0x174] } });
    t.same(
      records.map(({ observation }) => observation.sequence),
      [0, 1],
    );
    t.match(records[0], { bootProtocol: 'multiboot', cpuidCapped: false, write: null });
    t.match(records[0]!.observation, { index: 0, apicId: 0, cr4: 0x40, apicBase: 0xfee00900n, xcr0: null });
    t.same(records[0]!.observation.msrs, [
      { index: 0x277, value: 0x0007040600070406n },
      { index: 0x174, value: 0n },
    ]);
    t.same(records[1]!.observation.cpuid, records[0]!.observation.cpuid);
  });
}

for (const cpu of ['486', 'pentium', 'n270', 'Nehalem', 'EPYC', 'max']) {
  void t.test(`sweeps the CPUID of ${cpu} as sweep.ts does`, { skip }, async (t) => {
    const [{ observation }] = boot(t, { cpu }) as [ProbeRecord];
    t.same(replay(observation), observation.cpuid);
    const level = observation.cpuid.find(({ leaf }) => leaf === 0)!.eax;
    for (const leaf of [level, level + 1, level + 2, 0x80000000, 0x8fffffff, 0xc0000000]) {
      t.ok(
        observation.cpuid.some((row) => row.leaf === leaf),
        `asks ${leaf.toString(16)}`,
      );
    }
  });
}

void t.test('an absurd maximum cuts the sweep short and sets the flag', { skip }, async (t) => {
  const [record] = boot(t, { cpu: 'Nehalem,level=0x12345678' }) as [ProbeRecord];
  t.equal(record.cpuidCapped, true);
  t.same(replay(record.observation), record.observation.cpuid);
});

void t.test('a second pass after OSXSAVE and XCR0, on command', { skip }, async (t) => {
  const records = boot(t, { cpu: 'max', commands: [COMMAND.xstate, COMMAND.dump] });
  const [first, second, third] = records.map(({ observation }) => observation);
  const leaf1 = (seen: VcpuObservation) => seen.cpuid.find(({ leaf }) => leaf === 1)!.ecx;
  const offered = first!.cpuid.find(({ leaf, subleaf }) => leaf === 0xd && subleaf === 0)!.eax;
  t.equal(first!.xcr0, null);
  t.equal(leaf1(first!) & (1 << 27), 0);
  t.equal(second!.cr4, (1 << 18) | (1 << 6));
  t.equal(second!.xcr0, BigInt(offered));
  t.equal(leaf1(second!) & (1 << 27), 1 << 27);
  t.equal(third!.xcr0, second!.xcr0, 'it stays');
});

void t.test('without XSAVE the second pass is only a dump', { skip }, async (t) => {
  const records = boot(t, { cpu: '486', commands: [COMMAND.xstate] });
  t.same(
    records.map(({ observation }) => [observation.sequence, observation.xcr0]),
    [
      [0, null],
      [1, null],
    ],
  );
});

void t.test('writes an MSR on every vCPU, or on one; each vCPU sends its own records', { skip }, async (t) => {
  const [all, one] = [0x1234n, 0x5678n].map((value) => ({ index: 0x174, value })) as [MsrValue, MsrValue];
  const request = { msrs: [0x174], apicIds: [1, 2] };
  const commands = [...encodeWrite(all), COMMAND.dump, ...encodeWrite(one, 1)];
  const records = boot(t, { smp: '3', request, commands });
  const shape = records.map(({ observation: { index, apicId, sequence } }) => [index, apicId, sequence]);
  t.same(
    shape,
    [0, 1, 2, 3].flatMap((sequence) => [0, 1, 2].map((vcpu) => [vcpu, vcpu, sequence])),
  );
  for (const { observation, write: written } of records) {
    const { sequence, index } = observation;
    const alone = sequence === 3 && index === 1;
    t.same(observation.msrs, [sequence === 0 ? { index: 0x174, value: 0n } : alone ? one : all]);
    t.same(written, alone ? one : sequence === 1 ? all : null);
    t.equal(observation.apicBase, observation.index === 0 ? 0xfee00900n : 0xfee00800n);
  }
});

void t.test(
  'finds the vCPUs of a topology by the APIC ids of the request, and each shows its own',
  { skip },
  async (t) => {
    // Cores of 3 threads: every fourth APIC id belongs to none.
    const shapes = { '8,cores=4,threads=2': [1, 2, 3, 4, 5, 6, 7], '6,cores=2,threads=3': [1, 2, 4, 5, 6] };
    for (const [smp, apicIds] of Object.entries(shapes)) {
      const records = boot(t, {
        smp,
        cpu: 'Nehalem,level=11',
        request: { msrs: [], apicIds },
        commands: [COMMAND.dump],
      });
      const ids = [0, ...apicIds];
      t.same(
        records.map(({ observation: { index, apicId, sequence } }) => [index, apicId, sequence]),
        [0, 1].flatMap((sequence) => ids.map((apicId, index) => [index, apicId, sequence])),
      );
      const x2apicIds = records.map(({ observation }) => observation.cpuid.find(({ leaf }) => leaf === 0xb)!.edx);
      t.same(x2apicIds, [...ids, ...ids], 'leaf 0xB too');
    }
  },
);
