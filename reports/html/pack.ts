/** From a log to the page's data: every distinct thing once, so that thousands of pairs stay small. */
import { REGISTERS } from '../../corpora/cpuid.js';
import { featureDictionary, featureName } from '../../corpora/features.js';
import { msrNameAt } from '../../corpora/msrs.js';
import { requirements } from '../../corpora/requirements.js';
import type { Reason } from '../../corpora/verdict.js';
import type { LoggedExpectation, LoggedVcpu } from '../logged-life.js';
import { findingLines } from '../reasons.js';
import type { LoggedCell, ResultLog } from '../result-log.js';
import type { Cell, Finding, Life, ReportData, Vcpu } from './client/data.js';
import { inOrderOfRelease } from './release-order.js';
import { statusId } from './status-id.js';

/** Distinct values in the order of first sight. */
class Distinct<T> {
  readonly values: T[] = [];
  readonly #places = new Map<string, number>();

  place(value: T, key = JSON.stringify(value)): number {
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    this.#places.set(key, this.values.length);
    return this.values.push(value) - 1;
  }
}

export function pack(log: ResultLog): ReportData {
  const machines = [...new Set(log.cells.map(machineOf))].sort(inOrderOfRelease);
  const cpus = [...new Set(log.cells.map(cpuOf))].sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  const [machineAt, cpuAt] = [placesOf(machines), placesOf(cpus)];
  const paths = new Distinct<ReportData['paths'][number]>();
  const scenarios = new Distinct<string>();
  const shapes = new Distinct<string>();
  const forced = new Distinct<readonly string[]>();
  const evidences = new Distinct<string>();
  const findings = new Distinct<ReportData['findings'][number]>();
  const lives = new Distinct<Life>();
  const tables = new Tables(log);
  const cells = log.cells.map(
    (cell): Cell => ({
      machine: machineAt.get(machineOf(cell))!,
      cpu: cpuAt.get(cpuOf(cell))!,
      path: paths.place({ subject: cell.subject, hosts: pathOf(cell) }),
      scenario: scenarios.place(cell.scenario),
      shape: shapes.place(cell.smp),
      verdict: cell.verdict,
      predicted: cell.predicted,
      forced: forced.place(cell.forced),
      evidence: evidences.place(cell.evidence),
      reasons: findings.place({ lines: findingLines(cell.reasons), each: cell.reasons.map(findingOf) }),
      life: cell.life ? lives.place(lifeOf(cell.life, tables)) : -1,
      status: statusId(cell),
      ms: cell.ms,
    }),
  );
  const told = new Set(log.cells.flatMap(({ reasons }) => reasons.map(({ requirement }) => requirement)));
  return {
    version: log.version,
    options: optionsOf(log),
    hosts: log.hosts,
    ...{ machines, cpus, cells },
    paths: paths.values,
    scenarios: scenarios.values,
    shapes: shapes.values,
    forced: forced.values,
    evidences: evidences.values,
    findings: findings.values,
    lives: lives.values,
    tables: tables.tables.values,
    rows: tables.rows.values,
    features: featuresByField(),
    msrs: tables.msrNames(),
    requirements: Object.fromEntries(
      requirements()
        .filter(({ id }) => told.has(id))
        .map(({ id, sentence }) => [id, sentence]),
    ),
  };
}

const machineOf = ({ pair }: LoggedCell): string => pair.slice(0, pair.indexOf('/'));
const cpuOf = ({ pair }: LoggedCell): string => pair.slice(pair.indexOf('/') + 1);
/** A move within a host is told by its scenario. */
const pathOf = ({ hosts }: LoggedCell): readonly string[] => (new Set(hosts).size === 1 ? hosts.slice(0, 1) : hosts);
const placesOf = (names: readonly string[]): ReadonlyMap<string, number> => new Map(names.map((name, i) => [name, i]));

/** The options that a replay needs: as the log says, else as its cells show. */
function optionsOf({ options, cells }: ResultLog): string {
  const altered = options?.allowAltered ?? cells.some(({ verdict }) => verdict === 'altered');
  const forced = options?.forceFeatures ?? cells.some((cell) => cell.forced.length > 0);
  return `${altered === true ? ' --allow-altered' : ''}${forced === true ? ' --force-features' : ''}`;
}

/** Tables by digest, their rows shared. */
class Tables {
  readonly tables = new Distinct<readonly number[]>();
  readonly rows = new Distinct<string>();
  readonly #log: ResultLog;

  constructor(log: ResultLog) {
    this.#log = log;
  }

  place(digest: string): number {
    const known = this.#log.tables.get(digest)!;
    return this.tables.place(
      known.rows.map((row) => this.rows.place(row, row)),
      digest,
    );
  }

  msrNames(): Record<string, string> {
    const indices = this.rows.values.filter((row) => row.split(' ').length === 2).map((row) => row.slice(0, 8));
    return Object.fromEntries(
      [...new Set(indices)].flatMap((index) => {
        const name = msrNameAt(Number.parseInt(index, 16));
        return name === null ? [] : [[index, name]];
      }),
    );
  }
}

const lifeOf = ({ expected, steps }: NonNullable<LoggedCell['life']>, tables: Tables): Life => ({
  expected: expected.map((vcpu) => vcpuOf(vcpu, tables, [])),
  steps: steps.map(({ step, vcpus }) => ({
    step,
    vcpus: vcpus.map((vcpu) => vcpuOf(vcpu, tables, registersOf(vcpu))),
  })),
});

const vcpuOf = (
  { index, apicId, cpuid, msrs }: LoggedExpectation,
  tables: Tables,
  registers: Vcpu['registers'],
): Vcpu => ({ index, apicId, cpuid: tables.place(cpuid), msrs: tables.place(msrs), registers });

const registersOf = ({ cr0, cr4, efer, apicBase, xss, xcr0 }: LoggedVcpu): Vcpu['registers'] => [
  ['CR0', cr0],
  ['CR4', cr4],
  ['XCR0', xcr0 ?? 'not set'],
  ['EFER', efer],
  ['APIC base', apicBase],
  ['XSS', xss],
];

const bare = (hex: string): string => hex.slice(2);

function findingOf(told: Reason): Finding {
  const { code, requirement, step, vcpu, leaf, subleaf, register, bit, msr, feature, layer, message } = told;
  return {
    ...{ code, requirement, step, vcpu, bit, feature, layer, message },
    place: leaf === null ? null : `${bare(leaf)} ${subleaf === null ? '-' : bare(subleaf)}`,
    register: register === null ? null : REGISTERS.indexOf(register),
    msr: msr === null ? null : bare(msr),
  };
}

const hex8 = (value: number): string => value.toString(16).padStart(8, '0');

/** All names that messages use. */
function featuresByField(): Record<string, Record<number, string>> {
  const named: Record<string, Record<number, string>> = {};
  for (const { cpuid } of featureDictionary().words) {
    if (!cpuid) continue;
    const names = Array.from({ length: 32 }, (_, bit) => [bit, featureName(cpuid, bit)] as const);
    const key = `${hex8(cpuid.leaf)} ${cpuid.subleaf === null ? '-' : hex8(cpuid.subleaf)} ${REGISTERS.indexOf(cpuid.register)}`;
    named[key] = Object.fromEntries(names.filter(([, name]) => name !== undefined)) as Record<number, string>;
  }
  return named;
}
