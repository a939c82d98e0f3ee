/** Recorded hosts: the maker plays the capture back, every scenario ends as predicted, and no verdict of theirs counts. */
import fc from 'fast-check';
import t from 'tap';
import { CpuidTable } from '../../../corpora/cpuid.js';
import { builtInDefinitions } from '../../../corpora/definitions.js';
import { isUnexpected, SCENARIOS } from '../../../corpora/verdict.js';
import { listModels, resolve } from '../../../reference-vmm/cpu-model/resolve.js';
import { hostCapabilities } from '../../../reference-vmm/kvm/capabilities.js';
import { recordedKvm } from '../../../reference-vmm/kvm/recorded.js';
import { conclude, totalsOf } from '../../../reports/result-log.js';
import { textReport } from '../../../reports/text.js';
import { cellsOf } from '../../run/cell.js';
import { type RunOptions, runCell, runCells, takeNext } from '../../run/runner.js';
import { altersCpuid } from '../summary.js';
import { allCaptures } from './captures-for-tests.js';
import { RecordedHost } from './recorded-host.js';

const definitions = builtInDefinitions();
const captures = await allCaptures();
const hosts = captures.map(({ id, host }) => new RecordedHost(id, host));
const named = (id: string): RecordedHost => hosts.find(({ summary }) => summary.id === `recorded:${id}`)!;
const STRICT: RunOptions = { allowAltered: false, forceFeatures: false, jobs: 1 };

const EPYC = named('EPYC/6.12.107+deb13');

/** A kernel that shows every guest AVX2, asked or not. */
const ALTERING = new RecordedHost('altering', {
  ...EPYC.capabilities,
  cpuidAdditions: new CpuidTable([{ leaf: 7, subleaf: 0, eax: 0, ebx: 0x20, ecx: 0, edx: 0 }]),
});

void t.test('what a recorded KVM is asked is what was captured', async (t) => {
  for (const { id, host } of captures) {
    const { cpuidAdditions, ...played } = hostCapabilities(recordedKvm(host));
    const { cpuidAdditions: captured, capabilities, ...rest } = host;
    // Capabilities that this monitor does not know by name are not asked for.
    const asked = Object.fromEntries(Object.entries(capabilities).filter(([name]) => name in played.capabilities));
    t.strictSame(played, { ...rest, capabilities: asked }, id);
    t.equal(altersCpuid({ ...host, cpuidAdditions }), captured.rows.length > 0, id);
  }
});

void t.test('every scenario on recorded hosts ends as predicted, altered or not, forced or not', async (t) => {
  const seen = new Map<string, number>();
  const all = [ALTERING, ...hosts];
  const anyHost = fc.oneof(fc.nat(all.length - 1), fc.constant(0));
  const machines = ['pc-1.0', 'pc-i440fx-1.6', 'pc-i440fx-2.4', 'pc-q35-5.2', 'pc-q35-10.0', 'pc-next'];
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...machines),
      fc.nat(),
      fc.constantFrom(...SCENARIOS),
      fc.tuple(anyHost, anyHost),
      fc.record({ allowAltered: fc.boolean(), forceFeatures: fc.boolean() }),
      async (machine, pick, scenario, [first, second], how) => {
        const [a, b] = [all[first]!, all[second]!];
        const models = ['host', 'max', 'best', ...listModels(machine, definitions).map(({ name }) => name)];
        const cpu = models[pick % models.length]!;
        const identity = resolve({ machine, cpu, definitions, host: a.capabilities });
        const path = /migrate|snapshot/.test(scenario) ? [a, b] : [a];
        const { result } = await runCell({ identity, smp: '1', hosts: path, scenario }, { ...STRICT, ...how });
        seen.set(result.verdict, (seen.get(result.verdict) ?? 0) + 1);
        if (isUnexpected(result))
          throw new Error(
            `${cpu} ${scenario}: ${result.verdict}, not ${result.predicted}: ${result.reasons[0]?.message}`,
          );
        return (
          conclude({ cells: [result], complete: true }) ===
          (result.verdict === 'changed' ? 'broken' : 'nothing-verified')
        );
      },
    ),
    { seed: 31, numRuns: 150 },
  );
  for (const verdict of ['identical', 'refused', 'altered', 'changed'])
    t.ok(seen.get(verdict), `${verdict}: ${seen.get(verdict)}`);
});

void t.test('SMP guests, each vCPU with its own ids', async (t) => {
  const identity = resolve({ machine: 'pc-i440fx-1.6', cpu: 'Opteron_G2', smp: '4c2t2', definitions });
  const cells = cellsOf([{ identity, smp: '4c2t2' }], [EPYC], SCENARIOS);
  for await (const { result, judgement } of runCells(cells, STRICT)) {
    // The capture is of a CPU without hyperthreading: cmp-legacy is what SMP adds to this model.
    t.equal(result.verdict, result.predicted, `${result.scenario}: ${result.reasons[0]?.message}`);
    if (result.verdict === 'identical') t.equal(judgement.seen.at(-1)?.vcpus.length, 4);
  }
});

void t.test('the cell that runs next is the first that leaves busy hosts alone', (t) => {
  const identity = resolve({ machine: 'pc-i440fx-1.6', cpu: 'Nehalem', definitions });
  const three = hosts.slice(0, 3);
  const cells = cellsOf([{ identity, smp: '1' }], three, ['migrate']);
  const pathOf = ({ hosts: path }: (typeof cells)[number]): string =>
    path.map((host) => 'abc'[three.indexOf(host as RecordedHost)]).join('');
  const from = (...paths: string[]): typeof cells => cells.filter((cell) => paths.includes(pathOf(cell)));
  const waiting = [...cells];
  t.equal(pathOf(takeNext(waiting, [])), 'aa');
  t.same(waiting, cells.slice(1));
  t.equal(pathOf(takeNext([...cells], from('aa'))), 'bb');
  t.equal(pathOf(takeNext([...cells], from('ab'))), 'cc');
  t.equal(pathOf(takeNext(from('ab', 'ac', 'bc'), from('aa'))), 'bc');
  t.equal(pathOf(takeNext(from('aa', 'ac', 'ca'), from('aa'))), 'ac', 'the first of those that share one');
  t.end();
});

void t.test('recorded cells are marked and counted apart, and hold nothing', async (t) => {
  const identity = resolve({ machine: 'pc-i440fx-1.6', cpu: 'Nehalem', definitions });
  const path = [EPYC, named('EPYC/5.10.0-46')];
  const results = [];
  for await (const { result } of runCells(cellsOf([{ identity, smp: '1' }], path, SCENARIOS), STRICT))
    results.push(result);
  t.equal(results.length, 18);
  t.ok(results.every(({ verdict }) => verdict === 'identical'));
  t.match(totalsOf(results), { byVerdict: { identical: 0 }, recorded: { identical: 18 }, refusedAsPredicted: 0 });
  t.equal(conclude({ cells: results, complete: true }), 'nothing-verified');
  t.equal(conclude({ cells: results, complete: true }, 0), 'holds', 'where no identical cell was asked for');
  const log = {
    version: '0',
    startedAt: '',
    hosts: path.map(({ summary }) => summary),
    tables: new Map(),
    cells: results,
    complete: true,
  };
  const text = textReport(log, { color: false, verbose: false });
  t.match(text, /identical~/);
  t.match(text, /^Nothing verified: 0 identical.*on recorded hosts \(~\).*: 18 identical$/m);
});

void t.test('no path goes from a recorded host to a real one', async (t) => {
  const identity = resolve({ machine: 'pc-i440fx-1.6', cpu: 'Nehalem', definitions });
  const real = new RecordedHost('x', EPYC.capabilities);
  Object.assign(real.summary, { id: 'lab:6.12.107+deb13/EPYC' });
  const { result } = await runCell({ identity, smp: '1', hosts: [EPYC, real], scenario: 'migrate' }, STRICT);
  t.match(result, { verdict: 'skipped', reasons: [{ code: 'recorded-and-real' }] });
});

void t.test('a fault is planted in real kernels only', async (t) => {
  const identity = resolve({ machine: 'pc-i440fx-1.6', cpu: 'Nehalem', definitions });
  const cell = { identity, smp: '1', hosts: [named('EPYC/5.10.0-46')], scenario: 'boot' } as const;
  const { result } = await runCell(cell, { ...STRICT, fault: 'cpuid-altered' });
  t.match(result, { verdict: 'crashed', reasons: [{ code: 'recorded-host' }] });
});
