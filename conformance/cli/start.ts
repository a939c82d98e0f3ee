/** The main job as a newcomer first sees it: hosts, pairs x scenarios, what the verdicts mean, and proof that a change is caught. */
import { EXIT, type ExitCode, GuestAbiError } from '../../corpora/errors.js';
import { SCENARIOS } from '../../corpora/verdict.js';
import { jsonReport } from '../../reports/json.js';
import { conclude, isBreak, totalsOf } from '../../reports/result-log.js';
import { textReport } from '../../reports/text.js';
import { cellsOf } from '../run/cell.js';
import { control, PLANTS } from '../run/control.js';
import { LogWriter } from '../run/log-writer.js';
import { PACKAGE_VERSION } from '../version.js';
import { openHosts } from './hosts.js';
import { type CommonOptions, print, printJson, warn } from './output.js';
import { definitionsOf, resolvePair } from './pairs.js';
import { CONCLUSION_EXIT, runLogged, runOptions, textOptions } from './verify.js';

const PAIRS = [
  { machine: 'pc-1.0', cpu: 'Nehalem' },
  { machine: 'pc-i440fx-1.6', cpu: 'Nehalem' },
  { machine: 'pc-i440fx-2.4', cpu: 'Nehalem' },
  { machine: 'pc-i440fx-2.3', cpu: 'Haswell,-pcid' },
  { machine: 'pc-i440fx-2.4', cpu: 'qemu64' },
].map((pair) => ({ ...pair, smp: '1' }));

/** Runs and prints; gives the exit code. */
export async function start(options: CommonOptions): Promise<ExitCode> {
  const definitions = definitionsOf(options.corpora);
  const pairs = PAIRS.map((pair) => ({ identity: resolvePair(pair, definitions), smp: pair.smp }));
  const opened = await openHosts(['local']).catch((error: unknown) => {
    if (error instanceof GuestAbiError) return error;
    throw error;
  });
  if (opened instanceof GuestAbiError)
    return withoutKvm(
      opened,
      options,
      pairs.map(({ identity }) => identity.pair),
    );
  await using hosts = opened;
  const say = (text: string): void => {
    if (!options.json) print(text);
  };
  say(`guest-abi ${PACKAGE_VERSION}   Does a guest see the same CPU tomorrow as today?`);
  const cells = cellsOf(pairs, hosts.hosts, SCENARIOS);
  const strict = runOptions({});
  const writer = LogWriter.create(undefined);
  const log = await runLogged(cells, { ...strict, jobs: 2 }, writer);
  say(textReport(log, { ...textOptions(options) }));
  const observed = await observeAltered();
  const caught = await control(hosts.hosts[0]!, pairs[1]!.identity);
  say(`Control: ${PLANTS.length} planted changes, ${caught.filter(({ caught }) => caught).length} caught`);
  for (const { plant, finding } of caught) say(`    ${plant}: ${finding}`);
  say(`Next: guest-abi verify --help        log: ${writer.file}`);
  if (options.json) printJson('start', { run: jsonReport(log), observed, control: caught });
  if (caught.some(({ caught }) => !caught)) return EXIT.broken;
  return CONCLUSION_EXIT[conclude(log.cells)];

  /** Where nothing ran because the kernel alters CPUID: the same cells once more, to see that nothing beyond that changes. */
  async function observeAltered() {
    const all = log.cells.every((cell) => cell.verdict === 'refused');
    if (!all) return null;
    const second = LogWriter.create(writer.file.replace(/\.jsonl$/, '.altered.jsonl'));
    const altered = await runLogged(cells, { ...strict, allowAltered: true, jobs: 2 }, second);
    const { byVerdict } = totalsOf(altered.cells);
    const breaks = altered.cells.filter(isBreak);
    say(
      `Observed with --allow-altered: ${byVerdict.altered} altered, ${byVerdict.changed} changed, ${breaks.length} unexpected`,
    );
    for (const cell of breaks) warn(`${cell.pair} ${cell.scenario}: ${cell.verdict}: ${cell.reasons[0]?.message}`);
    return jsonReport(altered);
  }
}

/** What needs no KVM: every pair was resolved. Says so, and that nothing was verified. */
function withoutKvm(error: GuestAbiError, options: CommonOptions, pairs: readonly string[]): ExitCode {
  if (options.json) printJson('start', { error: error.toJSON(), resolved: pairs });
  else
    print(
      [
        `guest-abi ${PACKAGE_VERSION}   Does a guest see the same CPU tomorrow as today?`,
        `No KVM here: ${error.message}`,
        `Resolved without it: ${pairs.join(', ')}`,
        'Nothing verified: no guest was booted.',
      ].join('\n'),
    );
  return EXIT.cannot;
}
