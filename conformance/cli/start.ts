/** The main job as a newcomer first sees it: hosts, pairs x scenarios, what the verdicts mean, and proof that a change is caught. */
import type { Definitions } from '../../corpora/definitions.js';
import { EXIT, type ExitCode, GuestAbiError } from '../../corpora/errors.js';
import { jsonReport } from '../../reports/json.js';
import { isBreak, type Judged, type ResultLog, totalsOf } from '../../reports/result-log.js';
import { conclusionLine, hostLines, tableLines, textPainter } from '../../reports/text.js';
import type { Host } from '../hosts/host.js';
import { isLabReady } from '../hosts/lab/setup.js';
import { openLocalHost } from '../hosts/local.js';
import { ProcessHost } from '../hosts/process-host.js';
import { RecordedHost } from '../hosts/recorded/recorded-host.js';
import { altersCpuid } from '../hosts/summary.js';
import { type Cell, cellsOf } from '../run/cell.js';
import { control, PLANTS, type PlantEnd } from '../run/control.js';
import { LogWriter } from '../run/log-writer.js';
import { PACKAGE_VERSION } from '../version.js';
import { type OpenHosts, openHosts } from './hosts.js';
import { setupWithProgress } from './lab.js';
import { type CommonOptions, print, printJson, warn } from './output.js';
import { definitionsOf, resolvePair } from './pairs.js';
import { exitOf, loggedOptions, runLogged, runOptions, textOptions } from './verify.js';

export interface StartOptions extends CommonOptions {
  readonly offline?: boolean;
}

/** Pairs whose answers differ from machine type to machine type, and one that the plain lab CPU must refuse. */
const PAIRS = ['pc-i440fx-1.5/Nehalem', 'pc-i440fx-1.6/Nehalem', 'pc-i440fx-2.2/SandyBridge', 'pc-i440fx-2.4/Nehalem'];
/** The kernels that a newcomer sees: one long old, one in wide use. */
const LAB_HOSTS = ['lab:6.12', 'lab:5.10'];
/** Where nothing can be booted: what the captures say. */
const RECORDED_HOSTS = ['recorded:EPYC/6.12', 'recorded:EPYC/5.10'];

/** Runs and prints; gives the exit code. */
export async function start(options: StartOptions): Promise<ExitCode> {
  const say = (text: string): void => {
    if (!options.json) print(text);
  };
  say(`guest-abi ${PACKAGE_VERSION}   Does a guest see the same CPU tomorrow as today?`);
  const pairs = pairsOf(definitionsOf(options.corpora));
  const local = await openLocal();
  await using _ = local instanceof ProcessHost ? local : null;
  const exact = local instanceof ProcessHost && !altersCpuid(local.capabilities);
  await using lab = exact ? null : await openLab(options);
  await using recorded = lab || local instanceof ProcessHost ? null : await openHosts(RECORDED_HOSTS);
  const hosts = exact ? [local] : (lab?.hosts ?? recorded?.hosts ?? [local as ProcessHost]);
  if (!(local instanceof ProcessHost)) say(`No KVM on this machine: ${local.message}`);
  const shown = [...(local instanceof ProcessHost ? [local] : []), ...(lab?.hosts ?? recorded?.hosts ?? [])];
  say(hostLines(shown.map(({ summary }) => summary)).join('\n'));
  const writer = LogWriter.create(loggedOptions(options));
  const log = await runLogged(cellsFor(pairs, hosts), { ...runOptions({}), jobs: 2 }, writer);
  const text = textOptions(options);
  say(tableLines(log.cells, textPainter(text.color), text.verbose).join('\n'));
  // Whoever interrupts the one run does not wait for the next.
  const altered =
    local instanceof ProcessHost && !exact && log.complete ? await observeAltered(pairs, local, say) : null;
  const complete = log.complete && (altered?.complete ?? true);
  const caught = complete ? await playControl(hosts, local, pairs, say) : [];
  if (!complete) say('The run was cut short.');
  say(meaning(log, hosts));
  say(`Next: guest-abi verify --help        log: ${writer.file}`);
  if (options.json)
    printJson('start', { run: jsonReport(log), observed: altered && jsonReport(altered), control: caught });
  return exitOfStart(log, altered, caught);
}

/** `altered`: the same pairs observed on a kernel that alters CPUID. A control that was not played caught nothing. */
export function exitOfStart(
  log: Judged,
  altered: Judged | null,
  caught: readonly Pick<PlantEnd, 'caught'>[],
): ExitCode {
  const runs = [log, ...(altered ? [altered] : [])];
  if (runs.some(({ cells }) => cells.some(isBreak)) || caught.some((plant) => !plant.caught)) return EXIT.broken;
  return runs.every(({ complete }) => complete) ? exitOf(log) : EXIT.cannot;
}

type Pairs = readonly Pick<Cell, 'identity' | 'smp'>[];

const pairsOf = (definitions: Definitions): Pairs =>
  PAIRS.map((pair) => {
    const [machine = '', cpu = ''] = pair.split('/');
    return { identity: resolvePair({ machine, cpu, smp: '1' }, definitions), smp: '1' };
  });

/** Within each host, and over every ordered pair of hosts. */
function cellsFor(pairs: Pairs, hosts: readonly Host[]): Cell[] {
  const within = cellsOf(pairs, hosts, ['boot', 'reset', 'snapshot-restore']);
  const moves = cellsOf(pairs, hosts, ['migrate']);
  const several = hosts.length > 1;
  return [
    ...within.filter((cell) => cell.hosts.length === 1),
    ...moves.filter((cell) => !several || cell.hosts[0] !== cell.hosts[1]),
  ];
}

async function openLocal(): Promise<ProcessHost | GuestAbiError> {
  try {
    return await openLocalHost();
  } catch (error) {
    if (error instanceof GuestAbiError) return error;
    throw error;
  }
}

/** The lab where it is set up, or can be; null where neither, with the reason said. */
async function openLab({ offline }: StartOptions): Promise<OpenHosts | null> {
  try {
    if (!(await isLabReady())) {
      if (offline) {
        warn('the lab is not in the cache and --offline was given: no exact verdicts');
        return null;
      }
      await setupWithProgress({});
    }
    return await openHosts(LAB_HOSTS);
  } catch (error) {
    if (!(error instanceof GuestAbiError)) throw error;
    warn(`no lab, so no exact verdicts: ${error.message}`);
    return null;
  }
}

/** On a kernel that alters CPUID: the same pairs once more, to see that nothing changes beyond that. */
async function observeAltered(pairs: Pairs, local: ProcessHost, say: (text: string) => void): Promise<ResultLog> {
  const cells = cellsOf(pairs, [local], ['boot', 'reset', 'cold-start', 'snapshot-restore', 'migrate']);
  const lenient = { allowAltered: true, forceFeatures: true };
  const writer = LogWriter.create(loggedOptions(lenient), undefined, { suffix: 'altered' });
  const log = await runLogged(cells, { ...runOptions(lenient), jobs: 2 }, writer);
  const { byVerdict, forced } = totalsOf(log.cells);
  const [altered, changed] = [byVerdict.altered + forced.altered, byVerdict.changed + forced.changed];
  say(`Local, observed with --allow-altered: ${altered} cells altered, ${changed} changed`);
  for (const cell of log.cells.filter(isBreak))
    say(`    ${cell.pair} ${cell.scenario}: ${cell.verdict}: ${cell.reasons[0]?.message}`);
  return log;
}

async function playControl(
  hosts: readonly Host[],
  local: ProcessHost | GuestAbiError,
  pairs: Pairs,
  say: (text: string) => void,
): Promise<PlantEnd[]> {
  const host = local instanceof ProcessHost ? local : hosts[0]!;
  if (host instanceof RecordedHost) return [];
  const ends = await control(host, pairs[0]!.identity);
  say(`Control: ${PLANTS.length} planted changes, ${ends.filter(({ caught }) => caught).length} caught`);
  for (const { plant, finding } of ends) say(`    ${plant}\n        ${finding}`);
  return ends;
}

function meaning(log: ResultLog, hosts: readonly Host[]): string {
  const line = conclusionLine(log);
  if (hosts.every((host) => host instanceof RecordedHost)) return `${line}. No guest was booted.`;
  const vendors = new Set(hosts.map(({ capabilities }) => capabilities.facts.cpuVendor));
  if (!vendors.has('GenuineIntel'))
    return `${line}. Only AMD hosts were run; for Intel: guest-abi verify --host ssh:USER@HOST`;
  return line;
}
