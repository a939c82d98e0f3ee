/** Runs a bundle again and says whether it shows the same. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Definitions } from '../../corpora/definitions.js';
import { EXIT, type ExitCode, InputError } from '../../corpora/errors.js';
import { formatCpu, parsePair } from '../../corpora/pair.js';
import { titleOf } from '../../reports/merge.js';
import { findingLines } from '../../reports/reasons.js';
import { makeFolder, removeFolder } from '../ends-with-us.js';
import { type BundleFiles, type CellBundle, readBundle } from '../reproduce/bundle.js';
import { type Replay, replay } from '../reproduce/replay.js';
import type { Outcome } from '../reproduce/symptom.js';
import { replayDumps } from '../reproduce/two-dumps.js';
import { openHosts } from './hosts.js';
import { type CommonOptions, print, printJson } from './output.js';
import { definitionsOf, followsHost, resolvePair } from './pairs.js';

export interface ReproduceOptions extends CommonOptions {
  readonly host?: readonly string[];
  /** Today's definitions, not those of the bundle. */
  readonly current?: boolean;
}

/** `same` and `different` are breaks; where a host does not take the CPU nothing can be told. */
const OUTCOME_EXIT: Readonly<Record<Outcome, ExitCode>> = {
  fixed: EXIT.holds,
  same: EXIT.broken,
  different: EXIT.broken,
  'cannot-tell': EXIT.cannot,
};

/** Prints what came of it; gives the exit code. */
export async function reproduce(folder: string, options: ReproduceOptions): Promise<ExitCode> {
  const { bundle, files } = readBundle(folder);
  if (bundle.kind === 'dumps') {
    if (options.host)
      throw new InputError('nothing-to-run', 'two dumps are compared: there is nothing to run on a host');
    const { outcome, lines } = replayDumps(files);
    if (options.json) printJson('reproduced', { outcome, differences: lines });
    else print([...lines, `${outcome}: ${bundle.names.join(' and ')}: ${lines.length} differences`].join('\n'));
    return OUTCOME_EXIT[outcome];
  }
  const played = await play(bundle, files, options);
  if (options.json)
    printJson('reproduced', { outcome: played.outcome, by: played.by, before: bundle.cell, now: played.result });
  else print(replayText(bundle, played));
  return OUTCOME_EXIT[played.outcome];
}

async function play(
  bundle: CellBundle,
  files: BundleFiles,
  { host, current, corpora }: ReproduceOptions,
): Promise<Replay> {
  const folder = makeFolder('guest-abi-');
  try {
    const definitions = current
      ? definitionsOf(corpora)
      : new Definitions([unpackCorpora(files, folder), ...(corpora ?? [])]);
    const { machine, cpu } = parsePair(bundle.cell.pair);
    const request = { machine, cpu: formatCpu(cpu), smp: bundle.cell.smp };
    await using opened = host ? await openHosts(host) : null;
    return await replay(bundle, files, {
      hosts: opened?.hosts ?? null,
      definitions,
      resolve: (capabilities) => resolvePair(request, definitions, followsHost(request) ? capabilities : undefined),
    });
  } finally {
    removeFolder(folder);
  }
}

/** The bundle's definitions as a corpora folder: they are checked there as any user's are. */
function unpackCorpora(files: BundleFiles, folder: string): string {
  for (const [path, text] of Object.entries(files)) {
    if (!path.startsWith('corpora/')) continue;
    const file = join(folder, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  return join(folder, 'corpora');
}

const MEANING: Readonly<Record<Outcome, string>> = {
  same: 'same: it shows again',
  different: 'different: it fails otherwise',
  fixed: 'fixed: it does not show any more',
  'cannot-tell': 'cannot tell: this host does not take the CPU, so the failure cannot show',
};

function replayText({ cell }: CellBundle, { outcome, result, by }: Replay): string {
  return [
    `bundled: ${titleOf(cell)}: ${cell.verdict}`,
    ...findingLines(cell.reasons).map((line) => `    ${line}`),
    `now, by ${by}: ${result.hosts.join(' > ')}: ${result.verdict}`,
    ...(outcome === 'same' ? [] : findingLines(result.reasons).map((line) => `    ${line}`)),
    MEANING[outcome],
  ].join('\n');
}
