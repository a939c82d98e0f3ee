/** Bundles a cell of a log: run again where its hosts are at hand, made smaller, and put into a folder with all that it stands on. */

import { rowToJson } from '../../corpora/cpuid.js';
import type { Definitions } from '../../corpora/definitions.js';
import { hex32, hex64 } from '../../corpora/hex.js';
import { captureToJson } from '../../corpora/host-capture.js';
import { type CpuIdentity, identityToJson } from '../../corpora/identity.js';
import type { ObservedMsr } from '../../corpora/observation.js';
import type { CellResult } from '../../corpora/verdict.js';
import { dumpOf, expectationOf } from '../../reports/logged-life.js';
import { titleOf } from '../../reports/merge.js';
import type { HostSummary, LoggedCell, ResultLog } from '../../reports/result-log.js';
import { formatCapture } from '../hosts/capture-file.js';
import type { Host } from '../hosts/host.js';
import { type RunOptions, runCell } from '../run/runner.js';
import type { Play, Step } from '../scenarios/scenario.js';
import { PACKAGE_VERSION } from '../version.js';
import { BUNDLE_SCHEMA, type BundleFiles, type CellBundle, digestOf } from './bundle.js';
import { bundleReport } from './bundle-report.js';
import { minimise, type Size } from './minimise.js';
import { pairDefinitions } from './pair-definitions.js';
import { recording, stepsToJson } from './recorded-steps.js';
import { symptomOf } from './symptom.js';

/** What bundling needs beside the log. */
export interface BundleSource {
  readonly definitions: Definitions;
  /** Of the cell's path, in order; null where one is not at hand. */
  readonly hosts: readonly Host[] | null;
  /** The pair in a shape. */
  readonly resolve: (smp: string) => CpuIdentity;
  readonly options: RunOptions;
  readonly seed: number | null;
}

type Made = { readonly bundle: Omit<CellBundle, 'files'>; readonly files: BundleFiles };

export async function bundleCell(log: ResultLog, cell: LoggedCell, source: BundleSource): Promise<Made> {
  const { hosts, options, definitions } = source;
  const again = hosts ? await runAgain(cell, hosts, source) : null;
  const told: CellResult = again?.result ?? withoutLife(cell);
  const smallest = again?.minimised ?? false;
  const summaries = log.hosts.filter(({ id }) => told.hosts.includes(id));
  const captures = summaries.map((summary) => captureOf(summary, hosts));
  const bundle: Omit<CellBundle, 'files'> = {
    ...{
      schema: BUNDLE_SCHEMA,
      kind: 'cell',
      version: PACKAGE_VERSION,
      node: process.version,
      at: new Date().toISOString(),
    },
    cell: structuredClone(told) as CellBundle['cell'],
    options: { allowAltered: options.allowAltered, forceFeatures: options.forceFeatures },
    seed: source.seed,
    hosts: captures.map(({ host }) => host),
    minimisedFrom: smallest ? titleOf(cell) : null,
    reproduced: again ? again.reproduced : null,
  };
  const files = {
    'identity.json': json(identityToJson(source.resolve(told.smp))),
    ...Object.fromEntries(captures.flatMap(({ file }) => (file ? [file] : []))),
    ...Object.fromEntries(
      Object.entries(pairDefinitions(cell.pair, definitions)).map(([path, text]) => [`corpora/${path}`, text]),
    ),
    // Where definitions alone break the contract no guest was made.
    ...(again?.reproduced && again.steps.length > 0 ? { 'steps.json': stepsToJson(again.steps) } : {}),
    ...dumpsOf(log, cell),
  };
  return { bundle, files: { ...files, 'REPORT.md': bundleReport(bundle) } };
}

interface Again {
  readonly result: CellResult;
  readonly steps: readonly Step[];
  readonly reproduced: boolean;
  readonly minimised: boolean;
}

/** The cell as it shows now, smaller where that shows the same; as the log has it where it does not show again. */
async function runAgain(cell: LoggedCell, hosts: readonly Host[], source: BundleSource): Promise<Again> {
  const symptom = symptomOf(cell);
  const run = async ({ smp, hosts: path, scenario }: Size<Host>) => {
    const steps: Step[] = [];
    const around = (play: Play): Play => recording(play, steps);
    const identity = source.resolve(smp);
    const { result } = await runCell(
      { identity, smp, hosts: path, scenario },
      { ...source.options, definitions: source.definitions, around },
    );
    return { result, steps };
  };
  const size = { smp: cell.smp, hosts, scenario: cell.scenario };
  const whole = await run(size);
  if (symptomOf(whole.result) !== symptom)
    return { result: withoutLife(cell), steps: [], reproduced: false, minimised: false };
  const least = await minimise(size, symptom, run);
  return { ...(least?.end ?? whole), reproduced: true, minimised: least !== null };
}

function withoutLife(cell: LoggedCell): CellResult {
  const { life: _life, ...result } = cell;
  return result;
}

function captureOf(summary: HostSummary, hosts: readonly Host[] | null) {
  const host = hosts?.find((one) => one.summary.id === summary.id);
  const path = `hosts/${fileName(summary.id)}.json`;
  if (!host)
    return {
      host: { ...summary, note: `${summary.note}; not at hand when this was bundled`, capture: null },
      file: null,
    };
  const text = formatCapture(
    host.capabilities,
    `${summary.id}, ${captureToJson(host.capabilities).facts.kernelVersion}`,
  );
  return { host: { ...summary, capture: path }, file: [path, text] as const };
}

/** Ids of lab hosts spell out a whole CPU: longer than a file's name may be. */
const LONGEST_ID = 60;

function fileName(id: string): string {
  const plain = id.replace(/[^\w.+-]+/g, '_');
  return plain.length <= LONGEST_ID ? plain : `${plain.slice(0, LONGEST_ID)}-${digestOf(id).slice(0, 8)}`;
}

/** What the log's guest had to show and what it showed, in the form that `guest-abi diff` reads. */
function dumpsOf({ tables }: ResultLog, { life, hosts, pair }: LoggedCell): BundleFiles {
  if (!life || life.steps.length === 0) return {};
  const expected = life.expected.map((vcpu) => expectationOf(vcpu, tables));
  return {
    'dumps/contract.json': dump(pair, 'its contract', expected),
    ...Object.fromEntries(
      life.steps.map(({ step, vcpus }) => [
        `dumps/${step}.json`,
        dump(
          pair,
          `${step} on ${hosts.join(' > ')}`,
          vcpus.map((vcpu) => dumpOf(vcpu, tables)),
        ),
      ]),
    ),
  };
}

interface Cpu {
  readonly index: number;
  readonly cpuid: Iterable<Parameters<typeof rowToJson>[0]>;
  readonly msrs: readonly ObservedMsr[];
}

const dump = (pair: string, of: string, cpus: readonly Cpu[]): string =>
  json({
    schema: 'guest-abi/dump/1',
    cpus: cpus.map(({ index, cpuid, msrs }) => ({
      index,
      cpuid: [...cpuid].map(rowToJson),
      mask: null,
      msrs: [...msrs]
        .sort((a, b) => a.index - b.index)
        .map((msr) => ({
          index: hex32(msr.index),
          ...('fault' in msr ? { fault: msr.fault } : { value: hex64(msr.value) }),
        })),
    })),
    absent: { row: 'answered', msr: 'none' },
    named: null,
    facts: { pair, of },
  });

const json = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;
