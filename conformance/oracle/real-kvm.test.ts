/** The probe and the oracle on this machine's KVM: what a guest sees is what KVM says that it shows, through every rule. */
import { existsSync } from 'node:fs';
import t, { type Test } from 'tap';
import { type CpuidRow, CpuidTable } from '../../corpora/cpuid.js';
import type { CpuIdentity } from '../../corpora/identity.js';
import { COMMAND, encodeProbeRequest, encodeWrite } from '../../corpora/probe-abi.js';
import { loadVolatility } from '../../corpora/volatility/volatility.js';
import { probeImage } from '../../guest-probes/images.js';
import { decodeRecord, type ProbeRecord } from '../../guest-probes/observation.js';
import type { BootProtocol } from '../../reference-vmm/boot/plan.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { Machine, type MachineEvent, runAsync } from '../../reference-vmm/monitor.js';
import { type CompareContext, compareDumps, compareVcpu, type ExpectedVcpu } from '../compare.js';

const skip = !existsSync('/dev/kvm') && 'no /dev/kvm';
const volatility = loadVolatility();
const context: CompareContext = { volatility, nameOf: () => undefined, step: 'boot', answerer: 'kvm' };
const IA32_PAT = 0x277;
const ABSENT_MSR = 0xdeadbeef;
const GENUINE_INTEL = { ebx: 0x756e6547, ecx: 0x6c65746e, edx: 0x49656e69 };
const AUTHENTIC_AMD = { ebx: 0x68747541, ecx: 0x444d4163, edx: 0x69746e65 };

/** All that this host supports, with another vendor, cut at `level`. */
function identity(vendor: typeof GENUINE_INTEL, level: number): CpuIdentity {
  using kvm = openKvm();
  const rows = kvm.supportedCpuid().rows.flatMap((row): CpuidRow[] => {
    if (row.leaf === 0) return [{ ...row, ...vendor, eax: Math.min(level, row.eax) }];
    if (row.leaf === 1) return [{ ...row, ebx: row.ebx & 0x00ffffff }];
    return row.leaf < 0x40000000 && row.leaf > level ? [] : [row];
  });
  const smp = { cpus: 1, maxcpus: 1, sockets: 1, dies: 1, modules: 1, cores: 1, threads: 1 };
  return {
    ...{ pair: 'test', machine: 'test', cpuModel: 'test', modelVersion: 'test', vendor: 'test', smp },
    ...{ level, xlevel: 0, signature: { family: 0, model: 0, stepping: 0 }, features: [], msrs: [] },
    vcpus: [{ index: 0, apicId: 0, cpuid: new CpuidTable(rows) }],
  };
}

function boot(cpu: CpuIdentity, protocol: BootProtocol): { machine: Machine; expected: ExpectedVcpu } {
  const created = Machine.create(openKvm(), cpu, {
    ...{ nameOf: () => undefined, allowAltered: true, forceFeatures: true },
    boot: {
      image: { name: 'cpu-state', bytes: probeImage('cpu-state'), protocol },
      modules: [{ text: '', bytes: encodeProbeRequest({ msrs: [IA32_PAT, ABSENT_MSR] }) }],
    },
  });
  if (created.kind === 'refused') throw new Error(created.reasons.map(({ message }) => message).join('; '));
  created.machine.start();
  const expected: ExpectedVcpu = {
    ...{ index: 0, apicId: 0, cpuid: created.readBack[0]!, otherMsrs: 'denied', rowsBeyondMaximum: 'not-compared' },
    msrs: [{ index: IA32_PAT, value: 0x0007040600070406n }],
  };
  return { machine: created.machine, expected };
}

const next = (machine: Machine): Promise<MachineEvent> => runAsync(machine, { timeoutMs: 5000 });

async function nextRecord(t: Test, machine: Machine): Promise<ProbeRecord> {
  const event = await next(machine);
  if (event.kind !== 'record') t.fail(`the guest sent no record: ${event.kind}`);
  return decodeRecord((event as Extract<MachineEvent, { kind: 'record' }>).bytes);
}

for (const [vendor, words] of Object.entries({ GENUINE_INTEL, AUTHENTIC_AMD })) {
  for (const level of [1, 4, 0xb, 0xd, 0x1f]) {
    void t.test(`${vendor}, level ${level}: the dump is what KVM read back`, { skip }, async (t) => {
      const { machine, expected } = boot(identity(words, level), level % 2 ? 'multiboot' : 'pvh');
      using _ = machine;
      const first = await nextRecord(t, machine);
      t.same(compareVcpu(expected, first.observation, context), []);
      t.equal(first.bootProtocol, level % 2 ? 'multiboot' : 'pvh');
      machine.sendSerial(Uint8Array.of(COMMAND.dump));
      const second = await nextRecord(t, machine);
      t.same(compareDumps(first.observation, second.observation, { ...context, sameBoot: true }), []);
    });
  }
}

const RESETS = {
  resetControl: 'reset-control',
  resetKeyboard: 'keyboard',
  tripleFault: 'triple-fault',
  init: 'init',
} as const;
for (const [command, by] of Object.entries(RESETS)) {
  void t.test(`resets itself by ${by} and shows the same again`, { skip }, async (t) => {
    const { machine, expected } = boot(identity(AUTHENTIC_AMD, 0xd), 'multiboot');
    using _ = machine;
    const first = await nextRecord(t, machine);
    machine.sendSerial(Uint8Array.of(COMMAND[command as keyof typeof RESETS]));
    t.match(await next(machine), { kind: 'reset', by });
    machine.reset();
    const second = await nextRecord(t, machine);
    t.equal(second.observation.sequence, 0);
    t.same(compareVcpu(expected, second.observation, context), []);
    t.same(compareDumps(first.observation, second.observation, { ...context, sameBoot: false }), []);
  });
}

void t.test('a value that the guest wrote is seen, and a reset takes it away', { skip }, async (t) => {
  const { machine, expected } = boot(identity(GENUINE_INTEL, 0xd), 'pvh');
  using _ = machine;
  const first = await nextRecord(t, machine);
  machine.sendSerial(encodeWrite({ index: IA32_PAT, value: 0x0606060606060606n }));
  const second = await nextRecord(t, machine);
  t.same(second.write, { index: IA32_PAT, value: 0x0606060606060606n });
  t.match(compareDumps(first.observation, second.observation, { ...context, sameBoot: true }), [
    { code: 'msr-changed' },
  ]);
  machine.sendSerial(Uint8Array.of(COMMAND.shutdown));
  t.match(await next(machine), { kind: 'exit' });
  machine.reset();
  t.same(compareVcpu(expected, (await nextRecord(t, machine)).observation, context), []);
});
