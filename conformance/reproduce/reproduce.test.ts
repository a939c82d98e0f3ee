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
import { openKvm } from '../../reference-vmm/kvm/system.js';
import { parseLog } from '../../reports/result-log.js';
import { runCli } from '../cli/run-cli.js';
import type { Fault } from '../hosts/agent/faults.js';
import { kvmHandlers } from '../hosts/agent/handlers.js';
import { openAgentHere } from '../hosts/agent/here.js';
import { localSocket } from '../hosts/bridge.js';
import type { Host } from '../hosts/host.js';
import { openLocalHost } from '../hosts/local.js';
import { captureWith } from '../regressions/kernels.js';
import { LogWriter } from '../run/log-writer.js';
import { runCell } from '../run/runner.js';
import { type CellBundle, readBundle, writeBundle } from './bundle.js';
import { bundleCell } from './bundle-cell.js';
import { packTar, unpackTar } from './bundle-tar.js';
import { smaller } from './minimise.js';
import { replay } from './replay.js';
import { outcomeOf } from './symptom.js';

const folder = t.testdir();
const PAIR = { machine: 'pc-i440fx-1.6', cpu: 'kvm64' } as const;
const identityOf = (smp: string) => resolve({ ...PAIR, smp: parseSmp(smp) });

/** What is at fault, and what its bundle must come to. */
interface Kind {
  readonly fault: Fault;
  /** Of the cell that failed; of the smaller one that is bundled, where there is one. */
  readonly scenario: Scenario;
  readonly smaller?: Scenario;
  readonly verdict: Verdict;
  /** What REPORT.md must say. */
  readonly says: RegExp;
  /** Default: as it is. `impatient`: waits less long for a dump. `stale`: its capture lacks what its kernel offers. */
  readonly host?: 'impatient' | 'stale';
}

const KINDS: readonly Kind[] = [
  {
    ...{ fault: 'cpuid-shown-otherwise', scenario: 'migrate', smaller: 'boot', verdict: 'changed' },
    says: /^# .*: the guest saw another CPU than its contract promises\n[\s\S]*\| CPUID 1\.EAX/,
  },
  { fault: 'msr-refused', scenario: 'boot', verdict: 'refused', says: /MSR 0xc0000081/ },
  {
    ...{ fault: 'msr-refused', scenario: 'boot', verdict: 'refused', host: 'stale' },
    says: /Expected was a refusal for another reason: .*nx/,
  },
  {
    ...{ fault: 'cpuid-altered', scenario: 'boot', verdict: 'altered' },
    says: /the kernel had altered[\s\S]*\| CPUID 1\.EAX/,
  },
  {
    ...{ fault: 'register-not-kept', scenario: 'snapshot-restore', verdict: 'dropped' },
    says: /lost state that had been accepted[\s\S]*\| CR4 \|/,
  },
  {
    ...{ fault: 'guest-lost', scenario: 'migrate', verdict: 'crashed' },
    says: /- `hop-1`: KVM\\_EXIT\\_INTERNAL\\_ERROR/,
  },
  {
    ...{ fault: 'vcpu-never-woken', scenario: 'snapshot-restore', verdict: 'hung', host: 'impatient' },
    says: /did not answer any more\.[\s\S]*- `restore`: the time was over/,
  },
];

/** Milliseconds: a boot takes some ten. */
const IMPATIENT_MS = 2000;
const LACKS_NX = { offersNot: { '80000001.EDX': '0x00100000' } };

function hostFor({ host: which }: Kind, host: Host): Host {
  const [{ summary, capabilities }, forget] = [host, async () => {}];
  if (which === 'stale')
    return {
      ...{ summary, capabilities: captureWith(capabilities, LACKS_NX), concurrent: true },
      ...{ open: () => host.open(), warm: () => host.warm(), [Symbol.asyncDispose]: forget },
    };
  if (which === undefined) return host;
  const open = () => openAgentHere(kvmHandlers(openKvm, IMPATIENT_MS), localSocket);
  return { ...{ summary, capabilities, concurrent: true, open }, warm: open, [Symbol.asyncDispose]: forget };
}

/** A cell that runs with a fault in its kernel, bundled with the fault still there. */
async function bundleOf({ fault, scenario, verdict, host: which }: Kind, host: Host) {
  const name = [fault, scenario, which ?? ''].join('-');
  const hosts = scenario === 'migrate' ? [host, host] : [host];
  const cell = { identity: identityOf('1'), smp: '1', hosts, scenario };
  const forceFeatures = which !== 'stale';
  const options = { allowAltered: true, forceFeatures, jobs: 1, fault };
  const { result, life } = await runCell(cell, options);
  t.equal(result.verdict, verdict, `${name}: ${result.reasons[0]?.message}`);
  const file = join(folder, `${name}.jsonl`);
  const writer = LogWriter.create({ allowAltered: true, forceFeatures, corpora: [] }, file);
  writer.host(host.summary);
  writer.cell(result, life);
  writer.end(true);
  const log = parseLog(readFileSync(file, 'utf8'), file);
  const definitions = builtInDefinitions();
  const made = await bundleCell(log, log.cells[0]!, { definitions, hosts, resolve: identityOf, options, seed: null });
  const out = join(folder, name);
  writeBundle(out, made.bundle, made.files);
  const read = readBundle(out);
  const run = (again: Fault | null, on: readonly Host[] | null) =>
    replay(read.bundle as CellBundle, read.files, {
      ...{ hosts: on, definitions, resolve: () => identityOf((read.bundle as CellBundle).cell.smp) },
      ...(again ? { fault: again } : {}),
    });
  return { bundle: read.bundle as CellBundle, files: read.files, run };
}

for (const kind of KINDS) {
  const { fault, scenario, verdict } = kind;
  void t.test(
    `${verdict}${kind.host ? `, on a host that is ${kind.host}` : ''}: the same while its kernel is at fault, run and as recorded; fixed without`,
    needsKvm,
    async (t) => {
      await using host = await openLocalHost();
      const on = hostFor(kind, host);
      const { bundle, files, run } = await bundleOf(kind, on);
      t.equal(bundle.cell.verdict, verdict);
      t.equal(bundle.reproduced, true);
      t.equal(bundle.cell.scenario, kind.smaller ?? scenario);
      t.equal(bundle.minimisedFrom !== null, kind.smaller !== undefined);
      t.match(files['REPORT.md'], kind.says);
      t.match(await run(fault, [on]), { outcome: 'same', by: 'hosts' });
      t.match(await run(null, null), { outcome: 'same', by: 'recorded steps' }, 'without KVM');
      t.match(await run(null, [host]), { outcome: 'fixed', by: 'hosts' });
      if (kind.host === 'stale') t.match(await run(null, [on]), { outcome: 'different' }, 'runs, though none was to');
    },
  );
}

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

void t.test('a guest that runs where none was to is a finding, as long as none was to', async (t) => {
  const ran = (predicted: Verdict) => ({ verdict: 'identical' as const, predicted, reasons: [] });
  t.equal(outcomeOf(ran('refused'), ran('refused')), 'same');
  t.equal(outcomeOf(ran('refused'), ran('identical')), 'fixed');
  t.equal(outcomeOf({ ...ran('identical'), verdict: 'changed' }, ran('refused')), 'different');
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
  const deep = `${'folder/'.repeat(20)}${'n'.repeat(100)}`;
  t.same([...unpackTar(packTar({ [deep]: 'text' }, 'a.tar'), 'a.tar', 1e6)], [[deep, Buffer.from('text')]]);
  writeFileSync(join(folder, 'deep.tar'), packTar({ [deep]: 'text' }, 'deep.tar'));
  t.equal(execFileSync('tar', ['tf', join(folder, 'deep.tar')], { encoding: 'utf8' }), `${deep}\n`);
  t.throws(() => packTar({ ['n'.repeat(101)]: '' }, 'a.tar'), { code: 'path-too-long', exitCode: 2 });
  t.match(await runCli(['bundle', a, b, '--out', join(folder, 'dumps.tar')]), { code: 2, stderr: /exists/ });
  execFileSync('rm', [join(out, 'differences.txt')]);
  execFileSync('mkfifo', [join(out, 'differences.txt')]);
  t.throws(() => readBundle(out), { code: 'bad-bundle', message: /differences\.txt: not a plain file/ });
  execFileSync('tar', ['cf', join(folder, 'fifo.tar'), '-C', folder, 'dumps']);
  t.throws(() => readBundle(join(folder, 'fifo.tar')), { code: 'bad-bundle', message: /neither file nor folder/ });
});
