/** Subjects as a user names them: real QEMU releases through all scenarios, moves between releases, and what cannot be had. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { CellResult } from '../../corpora/verdict.js';
import { runCli } from '../cli/run-cli.js';
import { cachedQemu, QEMU_RELEASES, type QemuRelease } from '../packages/qemu-trees.js';
import { execLine, standIn } from './qemu/stand-in.js';
import { parseSubject } from './subject.js';

const folder = mkdtempSync(join(tmpdir(), 'subjects-'));
t.teardown(() => rmSync(folder, { recursive: true }));
let logs = 0;

/** Looked up before any test begins: the runner ends once none is waiting. */
const here = await Promise.all(QEMU_RELEASES.map((release) => cachedQemu(release)));
const missing = (...releases: QemuRelease[]): string | false => {
  const absent = releases.find((release) => !here[QEMU_RELEASES.indexOf(release)]);
  return absent !== undefined && `QEMU ${absent} is not in the cache`;
};

async function verify(...args: string[]): Promise<{ status: number | null; cells: CellResult[] }> {
  const end = await runCli(['verify', '--json', '--log', join(folder, `${logs++}.jsonl`), ...args]);
  return { status: end.code, cells: (JSON.parse(end.stdout) as { cells: CellResult[] }).cells };
}

const say = ({ pair, subject, scenario, verdict, reasons }: CellResult): string =>
  `${pair} ${subject} ${scenario}: ${verdict} ${reasons[0]?.message ?? ''}`;

void t.test('names of subjects', async (t) => {
  t.equal(parseSubject('reference-vmm'), null);
  t.same(parseSubject('qemu-7.2'), { name: 'qemu-7.2', binary: '7.2', accel: 'tcg' });
  t.same(parseSubject('qemu-7.2,accel=tcg'), parseSubject('qemu-7.2'));
  t.match(parseSubject('qemu-7.2,accel=kvm'), { name: 'qemu-7.2,accel=kvm', accel: 'kvm' });
  t.match(parseSubject('qemu:/usr/bin/qemu-system-x86_64'), { binary: '/usr/bin/qemu-system-x86_64' });
  for (const bad of ['qemu-6.0', 'qemu', 'qemu:relative', 'xen', ''])
    t.throws(() => parseSubject(bad), { code: 'unknown-subject', exitCode: 2 }, bad);
  t.throws(() => parseSubject('qemu-7.2,accel=hvf'), { code: 'unknown-accelerator' });
});

void t.test('every scenario under QEMU 11.1: the guest sees the same', { skip: missing('11.1') }, async (t) => {
  const { status, cells } = await verify('--subject', 'qemu-11.1', '--pair', 'pc-q35-5.2/Nehalem');
  t.equal(status, 0);
  t.ok(cells.length >= 6);
  for (const cell of cells) t.equal(cell.verdict, 'identical', say(cell));
});

void t.test('several vCPUs, microvm', { skip: missing('11.1') }, async (t) => {
  const pairs = ['--pair', 'pc-q35-10.0/qemu64', '--pair', 'microvm/qemu64'];
  const { cells } = await verify('--subject', 'qemu-11.1', ...pairs, '--smp', '8c4t2', '--scenario', 'boot,reset');
  t.equal(cells.length, 4);
  for (const cell of cells) t.equal(cell.verdict, 'identical', say(cell));
});

void t.test('QEMU 5.2 comes back from every reset, on both boards', { skip: missing('5.2') }, async (t) => {
  const pairs = ['--pair', 'pc-i440fx-2.4/Nehalem', '--pair', 'pc-q35-4.2/qemu32', '--jobs', '2'];
  const { cells } = await verify('--subject', 'qemu-5.2', ...pairs, '--scenario', 'reset');
  t.equal(cells.length, 2);
  for (const cell of cells) t.equal(cell.verdict, 'identical', say(cell));
});

void t.test(
  'an unversioned machine type is that of its release, and between two of them its guest changes',
  { skip: missing('5.2', '7.2') },
  async (t) => {
    const subjects = ['--subject', 'qemu-5.2', '--subject', 'qemu-7.2'];
    const { cells } = await verify(...subjects, '--pair', 'microvm/EPYC', '--scenario', 'migrate');
    const of = (subject: string) => cells.find((cell) => cell.subject === subject)!;
    for (const subject of ['qemu-5.2', 'qemu-7.2']) t.equal(of(subject).verdict, 'identical', say(of(subject)));
    // Leaf 2 went from AMD's CPUs with the machine types of 6.1.
    t.match(of('qemu-5.2 > qemu-7.2'), { verdict: 'changed', reasons: [{ step: 'hop-1', leaf: '0x00000002' }] });
    const back = of('qemu-7.2 > qemu-5.2');
    t.match(back, { verdict: 'refused', reasons: [{ message: /Unknown savevm section or instance 'ioapic' 1/ }] });
  },
);

void t.test(
  'live migration shows the known break by its values, in both directions',
  {
    skip: missing('5.2', '7.2'),
  },
  async (t) => {
    const pairs = ['--pair', 'pc-i440fx-5.2/qemu64-v1', '--pair', 'pc-i440fx-5.2/qemu64'];
    const subjects = ['--subject', 'qemu-5.2', '--subject', 'qemu-7.2'];
    const { status, cells } = await verify(...subjects, ...pairs, '--scenario', 'migrate');
    t.equal(status, 1);
    t.equal(cells.length, 8);
    for (const cell of cells) {
      const breaks = cell.pair.endsWith('-v1') && cell.subject !== 'qemu-5.2';
      t.equal(cell.verdict, breaks ? 'changed' : 'identical', say(cell));
      if (breaks) t.match(cell.reasons[0], { leaf: '0x00000001', contract: '0x00000663', guest: '0x00060fb1' });
    }
  },
);

void t.test(
  'a QEMU that does not take what it is sent, or ends at once, is told of in its own words',
  { skip: missing('11.1') },
  async (t) => {
    const pair = ['--pair', 'pc-i440fx-6.2/qemu64'];
    /** `--version` is answered in any case. */
    const real = execLine(here[QEMU_RELEASES.indexOf('11.1')]!);
    const run = async (script: string, ...scenarios: string[]) => {
      const { name } = standIn(t.testdir(), `[ "$1" = --version ] || { ${script} ; }\n${real}`);
      return (await verify('--subject', `qemu:${name}`, ...pair, '--scenario', scenarios.join())).cells;
    };
    const otherMachine = `case "$*" in *-incoming*) set -- "$@" -machine pc-i440fx-7.2 ;; esac`;
    for (const cell of await run(otherMachine, 'migrate', 'snapshot-restore')) {
      t.equal(cell.verdict, 'refused', say(cell));
      const words = cell.reasons.map(({ message }) => message).join();
      t.match(words, /Machine type received is 'pc-i440fx-6\.2' and local is 'pc-i440fx-7\.2'/, cell.scenario);
    }
    for (const cell of await run('kill -9 $$', 'boot', 'migrate'))
      t.match(cell, {
        verdict: 'crashed',
        reasons: [{ message: /^QEMU 11\.1\.\d+: no message \(ended by SIGKILL\)$/ }],
      });
    t.match(await run('exit 3', 'boot'), [
      { verdict: 'refused', reasons: [{ message: /^QEMU 11\.1\.\d+: no message \(status 3\)$/ }] },
    ]);
  },
);

void t.test(
  'an MSR that one QEMU shows otherwise is named, as is one that a guest finds changed once it has moved',
  { skip: missing('11.1') },
  async (t) => {
    const real = execLine(here[QEMU_RELEASES.indexOf('11.1')]!);
    const other = 'set -- "$@" -global driver=qemu64-x86_64-cpu,property=ucode-rev,value=0x1234500000000';
    const named = { msr: '0x0000008b', contract: '0x0000000001000065', guest: '0x0001234500000000' };
    const run = async (when: string, scenario: string) => {
      const { name } = standIn(t.testdir(), `case "$*" in ${when}) ${other} ;; esac\n${real}`);
      return (await verify('--subject', `qemu:${name}`, '--pair', 'pc-q35-6.2/qemu64', '--scenario', scenario)).cells;
    };
    t.match(await run('*-cpu*', 'boot'), [{ verdict: 'changed', reasons: [named] }]);
    t.match(await run('*-incoming*', 'migrate'), [{ verdict: 'dropped', reasons: [named] }]);
    const head = standIn(t.testdir(), `case "$*" in *-cpu*) ${other} ;; esac\n${real}`).name;
    const gate = [
      'gate',
      '--base',
      'qemu:11.1',
      '--head',
      `qemu:${head}`,
      '--machine',
      'pc-q35-6.2',
      '--cpu',
      'qemu64',
    ];
    const { code, stdout } = await runCli(gate);
    t.equal(code, 1);
    t.match(stdout, /MSR 0x0000008b: contract 0x0000000001000065, guest 0x0001234500000000/);
  },
);

void t.test(
  'under TCG only the known break is called changed; what is known otherwise is told',
  { skip: missing('10.0') },
  async (t) => {
    const pairs = ['coreduo', 'base', 'Opteron_G4', 'Denverton', 'ClearwaterForest-v2'].flatMap((cpu) => [
      '--cpu',
      cpu,
    ]);
    const machine = ['--machine', 'pc-q35-5.2', '--smp', '8c4t2', '--scenario', 'boot'];
    const { cells } = await verify('--subject', 'qemu-10.0', ...machine, ...pairs);
    t.equal(cells.length, 5);
    const of = (cpu: string) => cells.find(({ pair }) => pair.endsWith(`/${cpu}`))!;
    t.match(of('coreduo'), { verdict: 'changed' });
    for (const one of of('coreduo').reasons) t.match(one, { leaf: '0x80000008', register: 'eax', bit: 2 });
    t.match(of('base'), { verdict: 'identical', evidence: /explained by smp-bits-after-levels: CPUID 0/ });
    // No XSAVE feature but XSAVE itself: CR4.OSXSAVE cannot be set there.
    t.equal(of('Opteron_G4').verdict, 'identical', say(of('Opteron_G4')));
    t.equal(of('Denverton').verdict, 'identical', say(of('Denverton')));
    t.match(of('ClearwaterForest-v2'), { verdict: 'refused', predicted: 'refused' });
  },
);

void t.test(
  'a QEMU that is none, one that is too old, one that has no such machine type',
  { skip: missing('11.1') },
  async (t) => {
    const pair = ['--pair', 'pc-i440fx-1.6/Nehalem', '--scenario', 'boot'];
    const none = await runCli(['verify', ...pair, '--subject', 'qemu:/bin/true']);
    t.equal(none.code, 2);
    t.match(none.stderr, /^guest-abi: \/bin\/true is not a QEMU that runs here\n$/);
    const old = join(t.testdir(), 'qemu');
    writeFileSync(old, '#!/bin/sh\necho QEMU emulator version 4.2.1\n', { mode: 0o755 });
    const tooOld = await runCli(['verify', ...pair, '--subject', `qemu:${old}`]);
    t.equal(tooOld.code, 2);
    t.match(tooOld.stderr, /is QEMU 4\.2\.1; 5\.2 is the oldest that is supported\n$/);
    const { status, cells } = await verify(...pair, '--subject', 'qemu-11.1');
    t.equal(status, 3, 'nothing was verified');
    t.match(cells, [{ verdict: 'refused', predicted: 'refused' }]);
    t.match(cells[0]!.reasons[0]!.message, /QEMU 11\.1\.\d+: unsupported machine type/);
  },
);
