/** What the tests of this package share: a real KVM or the reason for a skip, identities, and guests of a few bytes. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CpuidTable } from '../corpora/cpuid.js';
import { GuestAbiError } from '../corpora/errors.js';
import type { CpuIdentity } from '../corpora/identity.js';
import { packageFile } from '../corpora/package-root.js';
import { encodeProbeRequest, RECORD_MAGIC, recordChecksum } from '../corpora/probe-abi.js';
import { parseSmp } from '../corpora/smp.js';
import { resolve } from './cpu-model/resolve.js';
import { gpa } from './kvm/guest-memory.js';
import type { Kvm } from './kvm/kvm.js';
import { openKvm } from './kvm/system.js';
import { Machine, type MachineOptions } from './monitor.js';

/** Options of a test that needs /dev/kvm: a skip with its reason where there is none. */
export const needsKvm: { readonly skip: string | false } = (() => {
  try {
    openKvm()[Symbol.dispose]();
    return { skip: false };
  } catch (error) {
    if (error instanceof GuestAbiError) return { skip: error.message };
    throw error;
  }
})();

export const noNames = (): undefined => undefined;

/** An identity of one vCPU with this table. */
export const identityOf = (cpuid: CpuidTable): CpuIdentity => ({
  ...{ pair: 'pc-test/Test', machine: 'pc-test', cpuModel: 'Test', modelVersion: 'Test-v1', vendor: 'AuthenticAMD' },
  ...{ level: cpuid.value(0, null, 'eax'), xlevel: cpuid.value(0x80000000, null, 'eax') },
  smp: { cpus: 1, maxcpus: 1, sockets: 1, dies: 1, modules: 1, cores: 1, threads: 1 },
  signature: { family: 6, model: 1, stepping: 1 },
  features: [],
  vcpus: [{ index: 0, apicId: 0, cpuid }],
  msrs: [],
});

/** A table that this KVM keeps as it is given, also where it adds bits of its own to every other. */
export function keptTable(kvm: Kvm): CpuidTable {
  using vm = kvm.createVm();
  const vcpu = vm.createVcpu(0);
  vcpu.setCpuid2(kvm.supportedCpuid());
  return vcpu.getCpuid2();
}

/** A vCPU in real mode at 0x1000, with `code` there. */
export function rawVcpu(kvm: Kvm, code: readonly number[]) {
  const vm = kvm.createVm();
  const memory = vm.createMemory([{ gpa: 0, bytes: 0x10000 }]);
  memory.at(gpa(0x1000), code.length).set(code);
  const vcpu = vm.createVcpu(0);
  vcpu.setCpuid2(keptTable(kvm));
  const sregs = vcpu.getSregs();
  vcpu.setSregs({ ...sregs, cs: { ...sregs.cs, base: 0n, selector: 0 } });
  vcpu.setRegs({ ...vcpu.getRegs(), rip: 0x1000n, rflags: 2n });
  return { vm, memory, vcpu };
}

/** A machine with a flat guest of these bytes at 1 MiB, in 32-bit protected mode. */
export function flatMachine(kvm: Kvm, code: readonly number[], options: Partial<MachineOptions> = {}): Machine {
  const creation = Machine.create(kvm, identityOf(keptTable(kvm)), {
    nameOf: noNames,
    forceFeatures: true,
    boot: { image: { name: 'test guest', bytes: Uint8Array.from(code), protocol: 'flat' } },
    ...options,
  });
  if (creation.kind === 'refused') throw new Error(creation.reasons.map(({ message }) => message).join('\n'));
  creation.machine.start();
  return creation.machine;
}

const PROBE = { name: 'probe', bytes: readFileSync(packageFile('guest-probes/cpu-state/probe.elf')) };

/** A pair that any host gives a table for, with its topology: its vCPUs differ in leaves 1, 4 and 0xB. */
export const smpIdentity = (shape: string): CpuIdentity =>
  resolve({ machine: 'pc-i440fx-2.4', cpu: 'Nehalem', smp: parseSmp(shape) });

/** A machine with the cpu-state probe in it, not started; whatever the host alters or lacks. */
export function probeMachine(kvm: Kvm, identity: CpuIdentity, options: Partial<MachineOptions> = {}): Machine {
  const request = encodeProbeRequest({ msrs: [], apicIds: identity.vcpus.slice(1).map(({ apicId }) => apicId) });
  const creation = Machine.create(kvm, identity, {
    ...{ nameOf: noNames, allowAltered: true, forceFeatures: true },
    boot: { image: PROBE, modules: [{ text: 'request', bytes: request }] },
    ...options,
  });
  if (creation.kind === 'refused') throw new Error(creation.reasons.map(({ message }) => message).join('\n'));
  return creation.machine;
}

/** Runs up to the next record and gives its words, after its checksum was found right. */
export function nextProbeWords(machine: Machine): Uint32Array {
  const event = machine.run({ timeoutMs: 5000 });
  if (event.kind !== 'record') throw new Error(`${event.kind} instead of a record`);
  return probeWords(event.bytes);
}

/** The words of a record, after its checksum was found right. */
export function probeWords(bytes: Uint8Array): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [a, b] = recordChecksum(view, bytes.length - 8);
  const ends = [view.getUint32(bytes.length - 8, true), view.getUint32(bytes.length - 4, true)];
  if (view.getUint32(0, true) !== RECORD_MAGIC || ends[0] !== a || ends[1] !== b) throw new Error('no whole record');
  return new Uint32Array(bytes.slice().buffer);
}

/** A file system in memory of this size for the length of a test, or null where this process may not mount one. */
export function smallFileSystem(t: { teardown(work: () => void): void }, size: string): string | null {
  const folder = mkdtempSync(join(tmpdir(), 'guest-abi-full-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder]).status === 0;
  t.teardown(() => {
    if (mounted) spawnSync('umount', [folder]);
    rmdirSync(folder);
  });
  return mounted ? folder : null;
}
