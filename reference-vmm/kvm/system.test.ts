import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import t from 'tap';
import { CpuidTable } from '../../corpora/cpuid.js';
import { FEATURE_WORDS } from '../cpu-model/offered.js';
import { flatMachine, identityOf, keptTable, needsKvm, noNames } from '../fixtures.js';
import { Machine } from '../monitor.js';
import { hostCapabilities } from './capabilities.js';
import { openKvm } from './system.js';

void t.test('without KVM the error says what to do', async (t) => {
  t.throws(() => openKvm('/dev/no-such-kvm'), {
    code: 'kvm-absent',
    exitCode: 3,
    message: /no-such-kvm: ENOENT; load kvm_amd/,
  });
});

void t.test('a device or file that is not KVM is refused by its name and that of the call', async (t) => {
  const message = /^\/dev\/null is no KVM \(KVM_GET_API_VERSION: ENOTTY\); load kvm_amd/;
  t.throws(() => openKvm('/dev/null'), { code: 'kvm-absent', exitCode: 3, message });
});

/** To be refused we must be root and become nobody, and the device must refuse nobody. */
const cannotBeRefused =
  needsKvm.skip ||
  (process.getuid?.() !== 0 && 'needs root') ||
  ((statSync('/dev/kvm').mode & 0o006) !== 0 && '/dev/kvm is open to everybody here');
void t.test('without permission the error names the cure', { skip: cannotBeRefused }, async (t) => {
  const system = new URL('system.js', import.meta.url).href;
  const script = `process.setgid(65534); process.setuid(65534); import(${JSON.stringify(system)}).then(({ openKvm }) => openKvm()).catch((e) => console.log(e.code, e.exitCode, e.message))`;
  const { stdout } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', cwd: '/' });
  t.match(stdout, /^kvm-denied 3 .*usermod -aG kvm/);
});

void t.test('host capabilities are complete', needsKvm, async (t) => {
  using kvm = openKvm();
  const host = hostCapabilities(kvm);
  t.equal(host, hostCapabilities(kvm), 'read once');
  t.ok(host.supportedCpuid.get(0) && host.hostCpuid.get(0));
  const vendor = ['ebx', 'edx', 'ecx'] as const;
  t.equal(
    Buffer.from(Uint32Array.from(vendor.map((name) => host.hostCpuid.value(0, null, name))).buffer).toString('latin1'),
    host.facts.cpuVendor,
    'our CPUID instruction and /proc/cpuinfo name one vendor',
  );
  t.ok(host.msrIndices.includes(0x10), 'the TSC is listed');
  t.ok(host.capabilities.KVM_CAP_SPLIT_IRQCHIP);
  const kept = keptTable(kvm);
  for (const [leaf, subleaf, register] of FEATURE_WORDS) {
    const [taken, shown] = [host.cpuidRemovals ?? new CpuidTable([]), kept].map((of) =>
      of.value(leaf, subleaf, register),
    );
    t.equal(taken! & shown!, 0, `${leaf.toString(16)}.${register}: what is taken away is not shown`);
  }
});

const open = (): readonly string[] => [
  ...readdirSync('/proc/self/fd'),
  ...readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => /kvm/.test(line)),
];
const mappedBytes = (): number =>
  readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.endsWith(' 0 ') || line.includes('rw-p 00000000 00:00 0'))
    .map((line) =>
      line
        .split(/[- ]/)
        .slice(0, 2)
        .map((hex) => Number.parseInt(hex, 16)),
    )
    .reduce((sum, [from = 0, to = 0]) => sum + to - from, 0);

const HLT = [0xf4];

void t.test('everything is closed: after a run, a refusal, a bad image and a failed call', needsKvm, async (t) => {
  const MIB = 1 << 20;
  openKvm()[Symbol.dispose]();
  const before = open();
  const bytesBefore = mappedBytes();
  {
    using kvm = openKvm();
    using machine = flatMachine(kvm, HLT, { memoryBytes: 512 * MIB });
    machine.run({ timeoutMs: 1 });
    const unknown = new CpuidTable([{ leaf: 1, subleaf: null, eax: 0, ebx: 0, ecx: 1 << 27, edx: 0 }]);
    const refused = Machine.create(kvm, identityOf(unknown), { nameOf: noNames, memoryBytes: 256 * MIB });
    t.equal(refused.kind, 'refused');
    const boot = { image: { name: 'empty', bytes: new Uint8Array(0) } };
    t.throws(() => Machine.create(kvm, identityOf(unknown), { nameOf: noNames, boot, memoryBytes: 128 * MIB }), {
      code: 'bad-image',
    });
    const vm = kvm.createVm();
    vm.createVcpu(0);
    t.throws(() => vm.createVcpu(0), { code: 'kvm-eexist', message: /^KVM_CREATE_VCPU: EEXIST/ });
    t.ok(open().length > before.length, 'the count sees what is open');
    t.ok(mappedBytes() - bytesBefore > 512 * MIB, 'and what is mapped');
  }
  t.strictSame(open(), before);
  t.ok(mappedBytes() - bytesBefore < 64 * MIB, `${mappedBytes() - bytesBefore} bytes stayed mapped`);
});
