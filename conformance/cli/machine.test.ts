/** `probe`, `vmm run`, `doctor` and `start` as a user runs them, on this machine's KVM. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { CpuidTable } from '../../corpora/cpuid.js';
import { SHUTDOWN_CODE } from '../../corpora/probe-abi.js';
import { shortFolder } from '../../corpora/short-folder.js';
import type { Verdict } from '../../corpora/verdict.js';
import { loadVolatility } from '../../corpora/volatility/volatility.js';
import { probeImagePath } from '../../guest-probes/images.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { hostCapabilities } from '../../reference-vmm/kvm/capabilities.js';
import { openKvm } from '../../reference-vmm/kvm/system.js';
import type { Judged } from '../../reports/result-log.js';
import { altersCpuid } from '../hosts/summary.js';
import { withDerivedBits } from '../oracle/derived-bits.js';
import { processesMarked } from './fixtures.js';
import { CLI, runCli } from './run-cli.js';
import { exitOfStart } from './start.js';

const folder = t.testdir();
const PAIR = { machine: 'pc-i440fx-2.3', cpu: 'Nehalem' };
const PAIR_OPTIONS = ['--machine', PAIR.machine, '--cpu', PAIR.cpu];
const ALLOW = ['--allow-altered', '--force-features'];

interface ProbeJson {
  readonly verdict: string;
  readonly predicted: string;
  readonly forced: readonly string[];
  readonly reasons: readonly { readonly code: string }[];
  readonly vcpus: readonly {
    readonly cr4: string;
    readonly xcr0: string | null;
    readonly cpuid: Parameters<typeof CpuidTable.fromJson>[0];
    readonly msrs: readonly unknown[];
  }[];
}

void t.test('probe --json is what the guest saw: leaf 1 as KVM reads it back', needsKvm, async (t) => {
  const end = await runCli(['probe', ...PAIR_OPTIONS, ...ALLOW, '--msrs', '--json']);
  const dump = JSON.parse(end.stdout) as ProbeJson;
  // What was forced verifies nothing, unless the kernel altered it and that was allowed.
  t.equal(end.code, dump.verdict === 'identical' && dump.forced.length > 0 ? 3 : 0, end.stderr);
  const fields = ['schema', 'pair', 'host', 'hostFacts', 'verdict', 'predicted', 'forced', 'reasons', 'vcpus'];
  t.same(Object.keys(dump).sort(), fields.sort());
  t.match(dump, { schema: 'guest-abi/probe/1', pair: 'pc-i440fx-2.3/Nehalem', host: 'local' });
  t.match(dump.verdict, /identical|altered/);
  const [vcpu] = dump.vcpus;
  t.match(vcpu, { index: 0, apicId: 0, cr4: /^0x[0-9a-f]{8}$/ });
  t.ok(vcpu!.msrs.length > 10);

  using kvm = openKvm();
  using vm = kvm.createVm();
  const own = vm.createVcpu(0);
  own.setCpuid2(resolve(PAIR).vcpus[0]!.cpuid);
  const state = { cr4: Number(vcpu!.cr4), xcr0: vcpu!.xcr0 === null ? null : BigInt(vcpu!.xcr0) };
  const shown = withDerivedBits(
    own.getCpuid2(),
    { ...state, xss: 0n, apicBase: 0xfee00900n, msrs: [] },
    loadVolatility(),
  );
  t.same(CpuidTable.fromJson(vcpu!.cpuid).get(1), shown.get(1));
});

void t.test('probe --read-msrs is a table of pairs, each held to its identity', needsKvm, async (t) => {
  const end = await runCli(['probe', '--pair', 'pc-1.2/Nehalem', '--pair', 'pc-1.2/host', '--read-msrs', 'cheap']);
  t.equal(end.code, 0);
  t.match(end.stdout, /^pc-1\.2\/Nehalem +107 \d{3} [0-9a-f]{8}$/m);
  t.match(end.stdout, 'pc-1.2/host follows its host: held to nothing\n1 pairs, 0 MSRs otherwise than their identity');
});

void t.test(
  'probe refuses what the kernel alters, naming each feature, unless that is allowed',
  needsKvm,
  async (t) => {
    const end = await runCli(['probe', ...PAIR_OPTIONS, '--json']);
    const { verdict, predicted, reasons, vcpus } = JSON.parse(end.stdout) as ProbeJson;
    t.equal(verdict, predicted);
    if (verdict === 'identical') return void t.equal(end.code, 0);
    t.equal(end.code, 3);
    t.equal(verdict, 'refused');
    t.same(vcpus, [], 'nothing ran');
    t.ok(reasons.length > 0);
    const text = await runCli(['probe', ...PAIR_OPTIONS]);
    t.match(text.stdout, /pc-i440fx-2\.3\/Nehalem on local: refused/);
    t.match(text.stdout, /CPUID .*\(?[a-z0-9-]+\)?: contract [01]/);
    const run = await runCli(['vmm', 'run', ...PAIR_OPTIONS, '--kernel', probeImagePath('cpu-state')]);
    t.match(run, { code: 3, stdout: '', stderr: /^guest-abi: refused to run pc-i440fx-2\.3\/Nehalem:\n +CPUID / });
  },
);

/** Code at 1 MiB: 32-bit protected mode, flat segments. */
function flatGuest(name: string, ...code: readonly number[]): string[] {
  const file = join(folder, name);
  writeFileSync(file, Uint8Array.from(code));
  return ['vmm', 'run', ...PAIR_OPTIONS, ...ALLOW, '--kernel', file];
}

/** mov $0x3f8, %edx; then each byte: mov $byte, %al; out %al, %dx. */
const printing = (text: string): number[] => [
  ...[0xba, 0xf8, 0x03, 0, 0],
  ...[...Buffer.from(text)].flatMap((byte) => [0xb0, byte, 0xee]),
];
/** mov $code, %al; out %al, $0xf4; jmp . */
const exiting = (code: number): number[] => [0xb0, code, 0xe6, 0xf4, 0xeb, 0xfe];
const SPIN = [0xeb, 0xfe];

void t.test('vmm run: the serial port is stdout, and the guest decides the exit code', needsKvm, async (t) => {
  const says = flatGuest('says', ...printing('a guest speaks\n'), ...exiting(0));
  t.match(await runCli(says), { code: 0, stdout: 'a guest speaks\n', stderr: '' });
  const json = await runCli([...flatGuest('fails', ...printing('no'), ...exiting(7)), '--json']);
  t.equal(json.code, 1);
  t.match(JSON.parse(json.stdout), { schema: 'guest-abi/vmm-run/1', event: 'exit', code: 7, serial: 'no' });
});

void t.test('vmm run: the serial port is stdin', needsKvm, async (t) => {
  // 1: mov $0x3fd, %edx; in %dx, %al; test $1, %al; jz 1b; mov $0x3f8, %edx; in %dx, %al; out %al, %dx; cmp $'!', %al; jnz 1b
  const echo = [
    ...[0xba, 0xfd, 0x03, 0, 0, 0xec, 0xa8, 1, 0x74, 0xf6, 0xba, 0xf8, 0x03, 0, 0, 0xec, 0xee, 0x3c, 0x21],
    ...[0x75, 0xeb, ...exiting(0)],
  ];
  t.match(await runCli(flatGuest('echo', ...echo), { stdin: 'heard!' }), { code: 0, stdout: 'heard!' });
  const probe = ['vmm', 'run', ...PAIR_OPTIONS, ...ALLOW, '--kernel', probeImagePath('cpu-state'), '--json'];
  const end = await runCli(probe, { stdin: 'q' });
  t.match(JSON.parse(end.stdout), { event: 'exit', code: SHUTDOWN_CODE });
});

void t.test(
  'vmm run: a guest that spins, or resets for ever, ends in time and says where it was',
  needsKvm,
  async (t) => {
    const start = performance.now();
    const spinning = await runCli([...flatGuest('spins', ...SPIN), '--timeout', '1']);
    t.equal(spinning.code, 1);
    t.match(spinning.stderr, /the guest ran for 1 s.*(eip|rip)/i);
    t.ok(performance.now() - start < 20_000);
    // lidt 0x100010 (of zeros); ud2
    const resetting = flatGuest('resets', 0x0f, 0x01, 0x1d, 0x10, 0, 0x10, 0, 0x0f, 0x0b, ...Array(16).fill(0));
    const told = /^guest-abi: the guest was reset: KVM_EXIT_SHUTDOWN .*\nguest-abi: the guest ran for 1 s: .*\n$/;
    t.match(await runCli([...resetting, '--timeout', '1']), { code: 1, stderr: told });
  },
);

void t.test('vmm run: SIGINT ends a guest as soon as it speaks, and nothing stays', needsKvm, async (t) => {
  const temporary = shortFolder(t);
  const mark = `vmm-${process.pid}`;
  let out = '';
  const start = performance.now();
  // What serves the control socket is being loaded then.
  const qmp = ['--qmp', `unix:${join(temporary, 'qmp')},server=on,wait=off`];
  const end = await runCli([...flatGuest('talks-and-spins', ...printing('on'), ...SPIN), '--timeout', '50', ...qmp], {
    env: { TMPDIR: temporary, GUEST_ABI_TEST: mark },
    onStdout: (text) => (out += text),
    signal: { name: 'SIGINT', when: () => out === 'on' },
  });
  t.equal(end.code, 1);
  t.match(end.stderr, /interrupted/);
  t.ok(performance.now() - start < 20_000);
  t.same(processesMarked(mark), []);
  t.same(readdirSync(temporary), []);
});

void t.test('doctor: every "no" has its cure, and the exit code says whether the main job can run', async (t) => {
  const end = await runCli(['doctor', '--json']);
  const { checks } = JSON.parse(end.stdout) as {
    checks: { name: string; ok: boolean; finding: string; cure: string | null }[];
  };
  for (const { name, ok, finding, cure } of checks) {
    t.ok(finding, name);
    t.equal(cure === null, ok, name);
  }
  const kvm = checks.find(({ name }) => name === 'kvm')!;
  const lab = checks.find(({ name }) => name === 'lab')!;
  t.equal(end.code, kvm.ok || lab.ok ? 0 : 3, 'an exact host, here or in the lab');
  if (needsKvm.skip) t.notOk(kvm.ok);
  const text = await runCli(['doctor']);
  t.match(text.stdout, kvm.finding);
});

void t.test('start: the main job, its control, and what it means', needsKvm, async (t) => {
  const cwd = join(folder, 'start');
  mkdirSync(cwd);
  // An empty cache: the local host only.
  const end = await runCli(['start', '--offline', '--json'], { cwd, env: { XDG_CACHE_HOME: cwd } });
  const { run, observed, control } = JSON.parse(end.stdout) as Record<'run' | 'observed', { cells: Cell[] } | null> & {
    control: { caught: boolean; finding: string }[];
  };
  t.ok(control.length >= 3);
  for (const plant of control) t.ok(plant.caught, plant.finding);
  t.ok(run!.cells.length > 0);
  for (const { pair, scenario, verdict, predicted } of [...run!.cells, ...(observed?.cells ?? [])])
    t.equal(verdict, predicted, `${pair} ${scenario}`);
  const identical = run!.cells.some(({ verdict }) => verdict === 'identical');
  t.equal(end.code, identical ? 0 : 3);
  if (!identical) t.ok(observed!.cells.some(({ verdict }) => verdict === 'altered'));
});

/** Its second run is on kernels that alter CPUID. */
const alters = needsKvm.skip ? false : altersHere();
function altersHere(): boolean {
  using kvm = openKvm();
  return altersCpuid(hostCapabilities(kvm));
}

void t.test(
  'start: interrupted it runs nothing more, and what it ran proves nothing',
  { skip: needsKvm.skip || (!alters && 'this KVM alters no CPUID') },
  async (t) => {
    const cwd = join(folder, 'interrupted');
    mkdirSync(cwd);
    const log = join(cwd, 'guest-abi-results/run-altered.jsonl');
    const end = await runCli(['start', '--offline'], {
      ...{ cwd, env: { XDG_CACHE_HOME: cwd } },
      signal: { name: 'SIGINT', when: () => existsSync(log) && readFileSync(log, 'utf8').includes('"type":"cell"') },
    });
    t.equal(end.code, 3, end.stderr);
    t.match(end.stdout, /^The run was cut short\.$/m);
    t.notMatch(end.stdout, /Control:/);
  },
);

void t.test('start: a break breaks it, wherever it is seen, and a control that catches nothing', async (t) => {
  const runOf = (verdict: Verdict, predicted: Verdict, complete = true): Judged => ({
    cells: [
      {
        ...{ pair: 'pc-1.0/Nehalem', smp: '1', subject: 'reference-vmm', hosts: ['local'], scenario: 'boot' },
        ...{ verdict, predicted, forced: [], evidence: 'resolved-only', reasons: [], ms: 1 },
      },
    ],
    complete,
  });
  const [identical, altered] = [runOf('identical', 'identical'), runOf('altered', 'altered')];
  t.equal(exitOfStart(identical, altered, [{ caught: true }]), 0);
  t.equal(exitOfStart(identical, runOf('changed', 'altered'), [{ caught: true }]), 1);
  t.equal(exitOfStart(runOf('changed', 'identical'), null, []), 1);
  t.equal(exitOfStart(identical, altered, [{ caught: true }, { caught: false }]), 1);
  t.equal(exitOfStart(identical, runOf('altered', 'altered', false), []), 3);
  t.equal(exitOfStart(runOf('identical', 'identical', false), null, []), 3);
  t.equal(exitOfStart(runOf('refused', 'refused'), altered, [{ caught: true }]), 3);
});

interface Cell {
  readonly pair: string;
  readonly scenario: string;
  readonly verdict: string;
  readonly predicted: string;
}

/** `nobody`, who is in no group. */
const NOBODY = 65534;

const cannotTry = (): string | false => {
  if (process.getuid!() !== 0) return 'only root may become somebody else';
  if (!existsSync('/dev/kvm')) return 'no /dev/kvm';
  if ((statSync('/dev/kvm').mode & 0o006) !== 0) return '/dev/kvm is open to everybody';
  const { status } = spawnSync('env', ['-u', 'NODE_OPTIONS', process.execPath, CLI, '--version'], {
    uid: NOBODY,
    gid: NOBODY,
  });
  return status === 0 ? false : 'this checkout is closed to other users';
};

void t.test('without permission on /dev/kvm: one line with the cure, exit code 3', { skip: cannotTry() }, async (t) => {
  for (const args of [
    ['probe', ...PAIR_OPTIONS],
    ['verify', ...PAIR_OPTIONS],
    ['vmm', 'run', ...PAIR_OPTIONS, '--kernel', probeImagePath('cpu-state')],
  ]) {
    const end = await runCli(args, { uid: NOBODY, cwd: '/' });
    t.equal(end.code, 3, args.join(' '));
    t.match(end.stderr, /^guest-abi: .*\/dev\/kvm: permission denied; .*usermod.*\n$/);
  }
});

void t.test(
  'without KVM and without a lab, start does what needs none, and holds nothing',
  { skip: cannotTry() },
  async (t) => {
    const cwd = mkdtempSync(join(tmpdir(), 'guest-abi-nobody-'));
    t.teardown(() => rmSync(cwd, { recursive: true }));
    chmodSync(cwd, 0o777);
    const end = await runCli(['start', '--offline'], { uid: NOBODY, cwd, env: { XDG_CACHE_HOME: join(cwd, 'cache') } });
    t.equal(end.code, 3);
    t.match(end.stdout, /No KVM on this machine: .*permission denied/);
    t.match(end.stdout, /^pc-i440fx-1\.6\/Nehalem +identical~/m);
    t.match(end.stdout, /Nothing verified: 0 identical.*No guest was booted/);
  },
);
