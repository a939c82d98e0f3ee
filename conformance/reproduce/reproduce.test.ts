/** Bundles of every kind: made of a log, written, read, and run again: the same where nothing was mended, fixed where it was. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { builtInDefinitions } from '../../corpora/definitions.js';
import { packageFile } from '../../corpora/package-root.js';
import { parseSmp } from '../../corpora/smp.js';
import { reason, type Scenario, type Verdict } from '../../corpora/verdict.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { needsKvm } from '../../reference-vmm/fixtures.js';
import { parseLog } from '../../reports/result-log.js';
import { runCli } from '../cli/run-cli.js';
import type { Fault } from '../hosts/agent/faults.js';
import type { Host } from '../hosts/host.js';
import { openLocalHost } from '../hosts/local.js';
import { LogWriter } from '../run/log-writer.js';
import { runCell } from '../run/runner.js';
import { type CellBundle, readBundle, writeBundle } from './bundle.js';
import { bundleCell } from './bundle-cell.js';
import { smaller } from './minimise.js';
import { replay } from './replay.js';
import { outcomeOf } from './symptom.js';

const folder = t.testdir();
const PAIR = { machine: 'pc-i440fx-1.6', cpu: 'kvm64' } as const;
const OPTIONS = { allowAltered: true, forceFeatures: true, jobs: 1 };
const identityOf = (smp: string) => resolve({ ...PAIR, smp: parseSmp(smp) });

/** A cell that runs with a fault in its kernel, bundled with the fault still there. */
async function bundleOf(host: Host, fault: Fault, scenario: Scenario) {
  const hosts = scenario === 'migrate' ? [host, host] : [host];
  const cell = { identity: identityOf('1'), smp: '1', hosts, scenario };
  const options = { ...OPTIONS, fault };
  const { result, life } = await runCell(cell, options);
  const file = join(folder, `${fault}-${scenario}.jsonl`);
  const writer = LogWriter.create({ allowAltered: true, forceFeatures: true, corpora: [] }, file);
  writer.host(host.summary);
  writer.cell(result, life);
  writer.end(true);
  const log = parseLog(readFileSync(file, 'utf8'), file);
  const definitions = builtInDefinitions();
  const made = await bundleCell(log, log.cells[0]!, { definitions, hosts, resolve: identityOf, options, seed: null });
  const out = join(folder, `${fault}-${scenario}`);
  writeBundle(out, made.bundle, made.files);
  const read = readBundle(out);
  const run = (again: Fault | null, on: readonly Host[] | null) =>
    replay(read.bundle as CellBundle, read.files, {
      ...{ hosts: on, definitions, resolve: () => identityOf((read.bundle as CellBundle).cell.smp) },
      ...(again ? { fault: again } : {}),
    });
  return { bundle: read.bundle as CellBundle, files: read.files, run };
}

const KINDS: readonly (readonly [Fault, Scenario, string, RegExp])[] = [
  ['cpuid-shown-otherwise', 'migrate', 'changed', /CPUID 1\.EAX/],
  ['msr-refused', 'boot', 'refused', /MSR 0xc0000081/],
];

void t.test(
  'a kernel at fault: same while it is there, on the host and as recorded; fixed without it',
  needsKvm,
  async (t) => {
    await using host = await openLocalHost();
    for (const [fault, scenario, verdict, names] of KINDS) {
      const { bundle, files, run } = await bundleOf(host, fault, scenario);
      t.equal(bundle.cell.verdict, verdict, `${fault} ${scenario}: ${bundle.cell.reasons[0]?.message}`);
      t.equal(bundle.reproduced, true);
      t.equal(bundle.cell.scenario, 'boot', 'a migration that fails at its first boot is bundled as a boot');
      t.equal(bundle.minimisedFrom !== null, scenario === 'migrate');
      t.match(files['REPORT.md'], names);
      t.match(await run(fault, [host]), { outcome: 'same', by: 'hosts' });
      t.match(await run(null, null), { outcome: 'same', by: 'recorded steps' }, 'without KVM');
      t.match(await run(null, [host]), { outcome: 'fixed', by: 'hosts' });
    }
  },
);

void t.test('what shows otherwise is not mended, whatever was to be expected', async (t) => {
  const told = (verdict: Verdict, predicted: Verdict, message: string) => ({
    ...{ verdict, predicted },
    reasons: [reason({ code: 'cpuid-changed', step: 'boot', leaf: message, message })],
  });
  const before = told('changed', 'identical', '0x00000001');
  t.equal(outcomeOf(before, before), 'same');
  t.equal(outcomeOf(before, told('changed', 'changed', '0x00000007')), 'different');
  t.equal(outcomeOf(before, told('refused', 'identical', '0x00000001')), 'different');
  t.equal(outcomeOf(before, told('refused', 'refused', '0x00000001')), 'cannot-tell');
  t.equal(outcomeOf(before, { ...told('identical', 'identical', ''), reasons: [] }), 'fixed');
});

void t.test('smaller cells: fewer vCPUs, a shorter life, never the cell itself', async (t) => {
  const sizes = smaller({ smp: '8c4t2', hosts: ['a', 'b'], scenario: 'migrate' });
  t.same(
    sizes.map(({ smp, hosts, scenario }) => `${smp} ${hosts.join('>')} ${scenario}`),
    ['1 a boot', '1 b boot', '1 a>b migrate', '8c4t2 a boot', '8c4t2 b boot'],
  );
  t.same(smaller({ smp: '1', hosts: ['a'], scenario: 'boot' }), []);
});

/** A user's own folder, in which Nehalem has another stepping. */
function editedCorpora(): string {
  const path = 'cpu-models/intel/Nehalem.json';
  mkdirSync(join(folder, 'mine/cpu-models/intel'), { recursive: true });
  const text = readFileSync(packageFile(`corpora/${path}`), 'utf8').replace('"stepping": 3', '"stepping": 4');
  writeFileSync(join(folder, 'mine', path), text);
  return join(folder, 'mine');
}

void t.test(
  'a definition at fault, by the command line: carried in the bundle, fixed by the definitions of today',
  async (t) => {
    const [log, out] = [join(folder, 'definition.jsonl'), join(folder, 'definition')];
    const hosts = ['--host', 'recorded:EPYC/6.12', '--host', 'recorded:EPYC/5.10'];
    const args = [
      '--pair',
      'pc-i440fx-2.2/Nehalem',
      '--smp',
      '8c4t2',
      '--scenario',
      'migrate',
      '--corpora',
      editedCorpora(),
    ];
    t.match(await runCli(['verify', ...args, ...hosts, '--log', log]), { code: 1 });
    t.match(await runCli(['bundle', log, '--out', out]), {
      code: 0,
      stdout: /made smaller: .*migrate\n {2}it showed again/,
    });
    const report = readFileSync(join(out, 'REPORT.md'), 'utf8');
    t.match(
      report,
      /^# pc-i440fx-2\.2\/Nehalem: the definitions changed a released CPU\n\nCPU `pc-i440fx-2\.2\/Nehalem` does not resolve/,
    );
    t.match(report, /\| CPUID 1\.EAX \| `0x000106a3` \| `0x000106a4` \| resolve \|/);
    t.match(await runCli(['reproduce', out]), { code: 1, stdout: /same: it shows again/ });
    t.match(await runCli(['reproduce', out, '--current']), { code: 0, stdout: /fixed: it does not show any more/ });
    t.match(await runCli(['bundle', log, '--out', out]), { code: 2, stderr: /definition exists/ });
    t.match(await runCli(['bundle', log, '--pair', 'pc-1.0/qemu64', '--out', `${out}2`]), {
      code: 2,
      stderr: /no cell of the log/,
    });

    const ofQemu = join(folder, 'qemu.jsonl');
    writeFileSync(ofQemu, readFileSync(log, 'utf8').replaceAll('"reference-vmm"', '"qemu-7.2"'));
    const bundled = await runCli(['bundle', ofQemu, '--out', `${out}-qemu`]);
    t.match(bundled, { code: 0, stderr: /of qemu-7\.2, whose guests are not run again/, stdout: /not run again/ });
    t.match(await runCli(['reproduce', `${out}-qemu`, '--current']), {
      code: 2,
      stderr: /verify --subject qemu-7\.2 --pair pc-i440fx-2\.2\/Nehalem --scenario migrate runs it/,
    });

    const moved = join(folder, 'moved');
    cpSync(out, moved, { recursive: true });
    writeFileSync(join(moved, 'identity.json'), '{}');
    t.match(await runCli(['reproduce', moved]), { code: 2, stderr: /identity\.json is not what was bundled/ });
    t.match(await runCli(['reproduce', folder]), { code: 2, stderr: /no bundle: cannot read bundle\.json/ });
  },
);

void t.test('two dumps of a user: what differs, told to people, and found again', async (t) => {
  const [a, b, out] = [join(folder, 'old.txt'), join(folder, 'new.txt'), join(folder, 'dumps')];
  const dump = readFileSync(packageFile('conformance/formats/samples/cpuid.txt'), 'utf8');
  writeFileSync(a, dump);
  writeFileSync(b, dump.replaceAll(/(0x00000001 0x00: eax=0x\w+ ebx=0x\w+ ecx=0x)./g, '$10'));
  t.match(await runCli(['bundle', a, b, '--out', out]), { code: 0, stdout: /differences/ });
  t.match(
    readFileSync(join(out, 'REPORT.md'), 'utf8'),
    /^# old\.txt and new\.txt show different CPUs\n\nA guest that moves/,
  );
  t.match(await runCli(['reproduce', out]), { code: 1, stdout: /same: old\.txt and new\.txt/ });
  t.match(await runCli(['reproduce', out, '--host', 'local']), { code: 2, stderr: /nothing to run/ });
  t.notOk(existsSync(join(out, 'steps.json')));

  for (const name of ['dumps.tar', 'dumps.tar.gz', 'by-tar.tgz']) {
    const tar = join(folder, name);
    if (name === 'by-tar.tgz') execFileSync('tar', ['czf', tar, '-C', folder, 'dumps']);
    else t.match(await runCli(['bundle', a, b, '--out', tar]), { code: 0, stdout: /in it REPORT\.md/ });
    t.same(readBundle(tar).files, readBundle(out).files, name);
    const bytes = readFileSync(tar);
    writeFileSync(tar, bytes.subarray(0, bytes.length / 2));
    t.throws(() => readBundle(tar), { code: 'bad-bundle' }, `${name}, cut`);
  }
  t.match(await runCli(['bundle', a, b, '--out', join(folder, 'dumps.tar')]), { code: 2, stderr: /exists/ });
  execFileSync('rm', [join(out, 'differences.txt')]);
  execFileSync('mkfifo', [join(out, 'differences.txt')]);
  t.throws(() => readBundle(out), { code: 'bad-bundle', message: /differences\.txt: not a plain file/ });
  execFileSync('tar', ['cf', join(folder, 'fifo.tar'), '-C', folder, 'dumps']);
  t.throws(() => readBundle(join(folder, 'fifo.tar')), { code: 'bad-bundle', message: /neither file nor folder/ });
});
