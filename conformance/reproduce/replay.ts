/** Runs a bundle again: its recorded steps judged anew, its recorded hosts, or real hosts. */

import type { Definitions } from '../../corpora/definitions.js';
import { InputError } from '../../corpora/errors.js';
import type { HostCapabilities } from '../../corpora/host-capabilities.js';
import { type CpuIdentity, checkedIdentity } from '../../corpora/identity.js';
import type { CellResult } from '../../corpora/verdict.js';
import { RECORDED } from '../../reports/result-log.js';
import type { Host } from '../hosts/host.js';
import { parseCapture } from '../hosts/recorded/open-capture.js';
import { RecordedHost } from '../hosts/recorded/recorded-host.js';
import { type RunOptions, runCell } from '../run/runner.js';
import { REFERENCE } from '../subjects/subject.js';
import type { BundleFiles, CellBundle } from './bundle.js';
import { playOf } from './recorded-steps.js';
import { type Outcome, outcomeOf } from './symptom.js';

export interface Replay {
  readonly outcome: Outcome;
  readonly result: CellResult;
  /** What was run. */
  readonly by: 'recorded steps' | 'recorded hosts' | 'hosts';
}

/** What a bundle is run on. */
export interface ReplayOn {
  /** Null: as recorded. */
  readonly hosts: readonly Host[] | null;
  /** Those of the bundle, or today's. */
  readonly definitions: Definitions;
  /** The cell's pair by these definitions. Throws `InputError` where they do not know it. */
  readonly resolve: (host: HostCapabilities) => CpuIdentity;
  /** A kernel fault to plant, for tests. */
  readonly fault?: RunOptions['fault'];
}

/** Throws `InputError` where nothing of it can be run. */
export async function replay(
  bundle: CellBundle,
  files: BundleFiles,
  { hosts, definitions, resolve, fault }: ReplayOn,
): Promise<Replay> {
  const { cell, options } = bundle;
  if (cell.subject !== REFERENCE)
    throw new InputError(
      'other-subject',
      `the cell is of ${cell.subject}, whose guests are not replayed: guest-abi verify --subject ${cell.subject.split(' > ').join(' --subject ')} --pair ${cell.pair} --scenario ${cell.scenario} runs it`,
      { given: cell.subject },
    );
  const path = hosts ? pathOver(cell.hosts, hosts) : await recordedPath(bundle, files);
  const steps = hosts ? undefined : files['steps.json'];
  const identity = identityOf(files, () => resolve(path[0]!.capabilities));
  const run: RunOptions = {
    ...options,
    ...{ jobs: 1, definitions },
    ...(fault ? { fault } : {}),
    ...(steps === undefined ? {} : { play: playOf(steps) }),
  };
  const { result } = await runCell({ identity, smp: cell.smp, hosts: path, scenario: cell.scenario }, run);
  return {
    outcome: outcomeOf(cell, result),
    result,
    by: hosts ? 'hosts' : steps === undefined ? 'recorded hosts' : 'recorded steps',
  };
}

/** The hosts that were named, in the place of those of the cell: one for all, or as many as it has. */
function pathOver(ids: readonly string[], hosts: readonly Host[]): Host[] {
  const places = [...new Set(ids)];
  if (hosts.length === 1) return ids.map(() => hosts[0]!);
  if (hosts.length === places.length) return ids.map((id) => hosts[places.indexOf(id)]!);
  throw new InputError(
    'hosts-do-not-match',
    `the bundle's path has ${places.length} hosts, ${hosts.length} were named`,
  );
}

async function recordedPath({ cell, hosts }: CellBundle, files: BundleFiles): Promise<Host[]> {
  const recorded = new Map<string, Host>();
  for (const { id, capture } of hosts) {
    const text = capture === null ? undefined : files[capture];
    if (text === undefined)
      throw new InputError('no-capture', `the bundle has no capture of ${id}: name a host (--host)`, { given: id });
    const { host } = await parseCapture(Buffer.from(text), capture!);
    recorded.set(id, new RecordedHost(id.replace(RECORDED, ''), host));
  }
  return cell.hosts.map((id) => {
    const host = recorded.get(id);
    if (!host) throw new InputError('bad-bundle', `the cell's host ${id} is none of the bundle's`, { given: id });
    return host;
  });
}

/** As the definitions have it; as it was bundled where they do not know the pair. */
function identityOf(files: BundleFiles, resolve: () => CpuIdentity): CpuIdentity {
  try {
    return resolve();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const text = files['identity.json'];
    if (text === undefined) throw error;
    try {
      return checkedIdentity(JSON.parse(text));
    } catch (cause) {
      throw new InputError('bad-bundle', `identity.json: ${(cause as Error).message}`, { cause });
    }
  }
}
