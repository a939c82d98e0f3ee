/** A log that is gone on with, and parts of one run: their results count only where they are of one version, and of the same definitions and contracts. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Definitions } from '../../corpora/definitions.js';
import type { Scenario } from '../../corpora/verdict.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { mergeLogs } from '../../reports/merge.js';
import { ACME, ForeignRepository } from '../gate/foreign-repository.js';
import { RecordedHost } from '../hosts/recorded/recorded-host.js';
import { cellsOf } from './cell.js';
import { LogWriter, readLog } from './log-writer.js';
import { refuseOtherDefinitions } from './resumed.js';
import { type RunOptions, runCells } from './runner.js';

void t.test('results of another version, or of definitions that were edited since, are not gone on with', async (t) => {
  const folder = t.testdir();
  const acme = new ForeignRepository(join(folder, 'acme'));
  const host = await RecordedHost.open('rich/6.12');
  const today = (scenarios: readonly Scenario[] = ['boot']) => {
    const definitions = new Definitions([acme.corpora]);
    const identity = resolve({ machine: ACME, cpu: 'Nehalem', definitions });
    const options: RunOptions = { allowAltered: false, forceFeatures: false, jobs: 1, definitions };
    return { options, cells: cellsOf([{ identity, smp: '1' }], [host], scenarios) };
  };
  const file = join(folder, 'run.jsonl');
  const writer = LogWriter.create({}, file);
  const { cells, options } = today();
  for await (const { result, life } of runCells(cells, options)) {
    t.equal(result.verdict, 'identical');
    writer.cell(result, life);
  }
  writer.end(true);
  const again = () => {
    const { cells, options } = today();
    refuseOtherDefinitions(file, LogWriter.resume({}, file).done, cells, options);
  };
  t.doesNotThrow(again);
  const others = { code: 'log-of-other-definitions', message: /run\.jsonl: pc-acme-1\.0\/Nehalem smp 1 on recorded/ };
  acme.edit('cpu-models/intel/Nehalem.json', '"stepping": 3', '"stepping": 4');
  t.throws(again, others, 'its guest would be given another CPU than the contract has');
  acme.edit('contracts/Nehalem.json', /000106a3/g, '000106a4');
  t.throws(again, others, 'its guest had to show another CPU');
  acme.reset();
  t.doesNotThrow(again);
  // Another part of the run, after the edit.
  const partOf = async (scenario: Scenario) => {
    const { options, cells } = today([scenario]);
    const part = LogWriter.create({}, join(folder, `${scenario}.jsonl`));
    for await (const { result, life } of runCells(cells, options)) part.cell(result, life);
    part.end(true);
    return { name: part.file, log: readLog(part.file) };
  };
  const parts = [{ name: file, log: readLog(file) }, await partOf('reset')];
  t.equal(mergeLogs(parts).cells.length, 2);
  acme.edit('cpu-models/intel/Nehalem.json', '"stepping": 3', '"stepping": 4');
  acme.edit('contracts/Nehalem.json', /000106a3/g, '000106a4');
  const edited = await partOf('cold-start');
  t.match(edited.log.cells, [{ verdict: 'identical' }], 'by its own contract');
  t.throws(() => mergeLogs([...parts, edited]), {
    code: 'logs-differ',
    exitCode: 2,
    message: /cold-start was run with other definitions or contracts than pc-acme-1\.0\/Nehalem on .* boot$/,
  });
  acme.reset();
  writeFileSync(file, readFileSync(file, 'utf8').replace(/"version":"[^"]*"/, '"version":"0.0.1"'));
  t.throws(again, { code: 'log-of-other-version', message: /written by guest-abi 0\.0\.1/ });
});
