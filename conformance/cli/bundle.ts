/** Bundles: a failing cell of a log, or two dumps, made into a folder that somebody else can run. */
import { basename } from 'node:path';
import { EXIT, type ExitCode, InputError, MachineError } from '../../corpora/errors.js';
import { formatCpu, parsePair } from '../../corpora/pair.js';
import { titleOf } from '../../reports/merge.js';
import { isBreak, type LoggedCell, parseLog, type ResultLog } from '../../reports/result-log.js';
import type { Host } from '../hosts/host.js';
import { writeBundle } from '../reproduce/bundle.js';
import { bundleCell } from '../reproduce/bundle-cell.js';
import { isTarName } from '../reproduce/bundle-tar.js';
import { bundleDumps } from '../reproduce/two-dumps.js';
import { REFERENCE } from '../subjects/subject.js';
import { openHosts } from './hosts.js';
import { readInputText } from './input-text.js';
import { type CommonOptions, print, printJson, warn } from './output.js';
import { definitionsOf, followsHost, resolvePair } from './pairs.js';

export interface BundleOptions extends CommonOptions {
  readonly out: string;
  readonly pair?: string;
  readonly scenario?: string;
  readonly host?: readonly string[];
  readonly seed?: number;
}

/** Writes the folder, says what is in it; gives the exit code. */
export async function bundle([first, second]: readonly string[], options: BundleOptions): Promise<ExitCode> {
  const text = readInputText(first!);
  if (second !== undefined) return bundleTwo(first!, text, second, options);
  const log = parseLog(text, first!);
  const cell = chosenCell(log, options);
  const definitions = definitionsOf(options.corpora ?? corporaOf(log));
  await using opened = await openPath(log, cell);
  const { machine, cpu } = parsePair(cell.pair);
  const made = await bundleCell(log, cell, {
    definitions,
    hosts: opened.path,
    resolve: (smp) => {
      const request = { machine, cpu: formatCpu(cpu), smp };
      return resolvePair(request, definitions, followsHost(request) ? opened.path?.[0]?.capabilities : undefined);
    },
    options: { ...runOptionsOf(log), jobs: 1 },
    seed: options.seed ?? null,
  });
  writeBundle(options.out, made.bundle, made.files);
  const { reproduced, minimisedFrom, cell: bundled } = made.bundle;
  if (options.json)
    printJson('bundled', {
      out: options.out,
      cell: titleOf(bundled),
      reproduced,
      minimisedFrom,
      files: Object.keys(made.files),
    });
  else
    print(
      [
        `${options.out}: ${titleOf(bundled)}: ${bundled.verdict}`,
        ...(minimisedFrom ? [`  made smaller: ${minimisedFrom}`] : []),
        `  ${reproduced === null ? 'its hosts are not at hand: not run again' : reproduced ? 'it showed again' : 'it did NOT show again'}`,
        `  for a bug tracker: ${options.out}${isTarName(options.out) ? ', in it REPORT.md' : '/REPORT.md'}; to see it again: guest-abi reproduce ${options.out}`,
      ].join('\n'),
    );
  return EXIT.holds;
}

function bundleTwo(first: string, text: string, second: string, { out, json }: BundleOptions): ExitCode {
  const made = bundleDumps({ name: basename(first), text }, { name: basename(second), text: readInputText(second) });
  writeBundle(out, made.bundle, made.files);
  const many = made.files['differences.txt']!.split('\n').length - 1;
  if (json) printJson('bundled', { out, differences: many, files: Object.keys(made.files) });
  else
    print(
      `${out}: ${first} and ${second}: ${many} differences; for a bug tracker: ${out}${isTarName(out) ? ', in it REPORT.md' : '/REPORT.md'}`,
    );
  return EXIT.holds;
}

/** The first break that fits the options, or where none broke the first cell that they name. Throws `InputError` `no-such-cell`. */
function chosenCell(log: ResultLog, { pair, scenario, host }: BundleOptions): LoggedCell {
  const fitting = log.cells.filter(
    (cell) =>
      (pair === undefined || cell.pair === pair) &&
      (scenario === undefined || cell.scenario === scenario) &&
      (host === undefined || host.every((id) => cell.hosts.includes(id))),
  );
  const broken = fitting.filter(isBreak);
  if (broken.length > 1)
    warn(`${broken.length} cells broke; this is the first of them (--pair, --scenario and --host choose)`);
  const cell = broken[0] ?? (pair === undefined ? undefined : fitting[0]);
  if (cell) return cell;
  throw new InputError(
    'no-such-cell',
    `no cell of the log ${pair === undefined ? 'broke' : `is of ${pair}`}; --pair names one that did not break`,
    {
      given: pair ?? '',
      nearest: [...new Set(log.cells.map((one) => one.pair))].slice(0, 3),
    },
  );
}

const corporaOf = ({ options }: ResultLog): string[] => {
  const folders = options?.corpora;
  return Array.isArray(folders) ? folders.map(String) : [];
};

const runOptionsOf = ({ options }: ResultLog) => ({
  allowAltered: options?.allowAltered === true,
  forceFeatures: options?.forceFeatures === true,
});

/** The cell's hosts, where they can be opened and run the kernels that the log names. */
async function openPath(
  log: ResultLog,
  cell: LoggedCell,
): Promise<AsyncDisposable & { readonly path: readonly Host[] | null }> {
  const none = { path: null, [Symbol.asyncDispose]: async () => {} };
  if (cell.subject !== REFERENCE) {
    warn(`the cell is of ${cell.subject}, whose guests are not run again: it is bundled as the log has it`);
    return none;
  }
  try {
    const opened = await openHosts([...new Set(cell.hosts)]);
    const path = cell.hosts.map((id) => opened.hosts.find((host) => host.summary.id === id));
    const other = path.find(
      (host) => !host || log.hosts.find(({ id }) => id === host.summary.id)?.kernel !== host.summary.kernel,
    );
    const dispose = () => opened[Symbol.asyncDispose]();
    if (!path.includes(undefined) && other === undefined)
      return { path: path as Host[], [Symbol.asyncDispose]: dispose };
    await dispose();
    warn(`${cell.hosts.join(' > ')}: not the kernels of the log any more: the cell is bundled as the log has it`);
    return none;
  } catch (error) {
    if (!(error instanceof MachineError || error instanceof InputError)) throw error;
    warn(`${error.message}: the cell is bundled as the log has it`);
    return none;
  }
}
