/** `npm run bench`: one table of what things cost, each beside its goal; `--write` keeps it in docs/. */
import { parseArgs } from 'node:util';
import { EXIT, GuestAbiError, InputError } from '../../corpora/errors.js';
import { packageFile } from '../../corpora/package-root.js';
import { writeFileWhole } from '../../corpora/write-file.js';
import { wholeNumber } from '../cli/options.js';
import { orUsage, toldAs } from '../soak/script.js';
import { machineFacts } from './machine-facts.js';
import { MEASUREMENTS } from './measurements.js';
import { isMissed, type Measurement, type Row } from './row.js';
import { markdownDocument, type Results, textTable } from './table.js';

const NAMES = MEASUREMENTS.map(({ name }) => name);
const { values } = orUsage('bench', () =>
  parseArgs({
    options: {
      json: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '400' },
      only: { type: 'string', multiple: true },
    },
  }),
);

try {
  const results = await measure(chosen(values.only ?? NAMES), wholeNumber('--rounds', 1)(values.rounds));
  console.log(values.json ? JSON.stringify(results, null, 1) : textTable(results));
  if (values.write) keep(results);
  process.exitCode = results.rows.some(isMissed) ? EXIT.broken : results.rows.length === 0 ? EXIT.cannot : EXIT.holds;
} catch (error) {
  process.exitCode = toldAs('bench')(error);
}

function chosen(names: readonly string[]): Measurement[] {
  const unknown = names.find((name) => !NAMES.includes(name));
  if (unknown !== undefined)
    throw new InputError('unknown-measurement', `no measurement '${unknown}': ${NAMES.join(', ')}`, { given: unknown });
  return MEASUREMENTS.filter(({ name }) => names.includes(name));
}

async function measure(measurements: readonly Measurement[], rounds: number): Promise<Results> {
  const machine = machineFacts();
  const rows: Row[] = [];
  const cannot: (readonly [string, string])[] = [];
  for (const { name, rows: measured } of measurements) {
    console.error(`bench: ${name}`);
    try {
      rows.push(...(await measured({ rounds })));
    } catch (error) {
      if (!(error instanceof GuestAbiError)) throw error;
      cannot.push([name, error.message]);
    }
  }
  return { schema: 'guest-abi/bench/2', at: new Date().toISOString(), machine, rows, cannot };
}

function keep(results: Results): void {
  writeFileWhole(packageFile('docs/benchmarks.json'), [Buffer.from(`${JSON.stringify(results, null, 1)}\n`)]);
  writeFileWhole(packageFile('docs/benchmarks.md'), [Buffer.from(markdownDocument(results))]);
}
