/** When guests that ran qualify a machine type, and what keeps them from it: cells of a real kernel in the lab. Skipped where the cache is empty. */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { CONTRACT_SHAPES } from '../../corpora/contracts.js';
import { Definitions } from '../../corpora/definitions.js';
import { packageFile } from '../../corpora/package-root.js';
import type { CellResult } from '../../corpora/verdict.js';
import { globMatcher } from '../cli/options.js';
import { runCli } from '../cli/run-cli.js';
import { cachedHost } from '../hosts/lab/fixtures.js';
import type { Cell } from '../run/cell.js';
import { type RunOptions, runCells } from '../run/runner.js';
import { type QualifyRequest, qualify } from './qualify.js';
import { runsItem } from './run-items.js';
import type { Qualification } from './summary.js';

// An emulated host on a busy machine.
t.setTimeout(600_000);

/** The oldest of its board: with no predecessor, one host can show all. */
const MACHINE = 'pc-acme-1.0';
/** No lab CPU has what this one needs. */
const UNRUNNABLE = 'Broadwell';
const STRICT: RunOptions = { allowAltered: false, forceFeatures: false, jobs: 1 };

const { host, why } = await cachedHost('5.10/EPYC');
t.teardown(() => host?.[Symbol.asyncDispose]());

const abi = join(t.testdir(), 'abi');
cpSync(packageFile('docs/examples/acme'), abi, { recursive: true });
const frozen = ['qemu32', UNRUNNABLE].flatMap((model) => ['--cpu', model]);
const { code } = await runCli(['freeze', '--corpora', abi, '--machine', MACHINE, ...frozen]);
t.equal(code, 0);

type Named = NonNullable<QualifyRequest['notRun']>[number];
const glob = (text: string): Named => ({ glob: text, matches: globMatcher(text) });
const runsOf = ({ items }: Qualification) => items.find(({ id }) => id === 'runs');

async function run(cells: readonly Cell[], options: RunOptions = STRICT): Promise<CellResult[]> {
  const results: CellResult[] = [];
  for await (const { result } of runCells(cells, options)) results.push(result);
  return results;
}

const isFirst = ({ identity, smp }: Cell): boolean => identity.cpuModel === 'qemu32' && smp === '1';

void t.test('guests that ran on a real kernel', { skip: why || false }, async (t) => {
  const hosts = [host!];
  const definitions = new Definitions([abi]);
  const asked = (how: Pick<QualifyRequest, 'run' | 'notRun' | 'wanted'>) =>
    qualify({ machine: MACHINE, definitions, hosts, kernels: [], ...how });
  let results: readonly CellResult[] = [];
  const first = await asked({ run: async (cells) => (results = await run(cells)) });
  t.match(first, { verdict: 'incomplete' });
  t.match(runsOf(first), {
    outcome: 'open',
    problems: [/^not seen running on any given host: Broadwell \(smp 1\) Broadwell \(smp 8c4t2\)$/],
  });

  const accepted = await asked({ run: async () => results, notRun: [glob('Broad*')] });
  t.equal(accepted.verdict, 'qualified');
  t.match(runsOf(accepted)!.evidence.at(-1), /^NOT SEEN RUNNING, and accepted so: Broadwell \(smp 1\) Broadwell/);
  t.match(runsOf(await asked({ run: async () => results, notRun: [glob('Broad*'), glob('qemu*')] })), {
    outcome: 'open',
    problems: [/--accept-not-run qemu\* names no model/],
  });

  const broken = await asked({
    run: (cells) => run(cells.filter(isFirst).slice(0, 1), { ...STRICT, fault: 'cpuid-altered' }),
  });
  t.equal(broken.verdict, 'not-qualified');
  t.match(runsOf(broken), { outcome: 'failed', problems: [/qemu32 \(smp 1\) boot on lab:5\.10.*: CPUID/] });

  const ran = results.filter(({ verdict }) => verdict === 'identical');
  const item = (cells: readonly CellResult[], many = cells.length) =>
    runsItem({ models: ['qemu32'], names: 1 }, hosts, { asked: many, results: cells });
  t.match(item(ran), { outcome: 'passed', problems: [] });
  t.match(item(ran, ran.length + 1), { outcome: 'open', problems: [/1 of \d+ cells were not run/] });
  for (const smp of CONTRACT_SHAPES)
    t.match(item(ran.filter((cell) => cell.smp !== smp)), {
      outcome: 'open',
      problems: [`not seen running on any given host: qemu32 (smp ${smp})`, /no guest/],
    });
  for (const spoilt of [{ forced: ['aes'] }, { hosts: ['recorded:EPYC/5.10'] }, { verdict: 'skipped' as const }])
    t.equal(item(ran.map((cell) => ({ ...cell, ...spoilt }))).outcome, 'open', JSON.stringify(spoilt));
});
