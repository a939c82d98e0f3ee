/** A log that is gone on with: its results count only where they are of this version, and of the definitions and contracts of today. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Definitions } from '../../corpora/definitions.js';
import { resolve } from '../../reference-vmm/cpu-model/resolve.js';
import { ACME, ForeignRepository } from '../gate/foreign-repository.js';
import { RecordedHost } from '../hosts/recorded/recorded-host.js';
import { cellsOf } from './cell.js';
import { LogWriter } from './log-writer.js';
import { refuseOtherDefinitions } from './resumed.js';
import { type RunOptions, runCells } from './runner.js';

void t.test('results of another version, or of definitions that were edited since, are not gone on with', async (t) => {
  const folder = t.testdir();
  const acme = new ForeignRepository(join(folder, 'acme'));
  const host = await RecordedHost.open('rich/6.12');
  const today = () => {
    const definitions = new Definitions([acme.corpora]);
    const identity = resolve({ machine: ACME, cpu: 'Nehalem', definitions });
    const options: RunOptions = { allowAltered: false, forceFeatures: false, jobs: 1, definitions };
    return { options, cells: cellsOf([{ identity, smp: '1' }], [host], ['boot']) };
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
  writeFileSync(file, readFileSync(file, 'utf8').replace(/"version":"[^"]*"/, '"version":"0.0.1"'));
  t.throws(again, { code: 'log-of-other-version', message: /written by guest-abi 0\.0\.1/ });
});
