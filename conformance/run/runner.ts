/** Runs cells, several at a time, each in a folder of its own, and gives their results as they come. */
import type { Definitions } from '../../corpora/definitions.js';
import { hex32 } from '../../corpora/hex.js';
import { identityToJson } from '../../corpora/identity.js';
import { type CellResult, reason } from '../../corpora/verdict.js';
import type { Life } from '../../reports/logged-life.js';
import { isRecorded } from '../../reports/result-log.js';
import { removeFolder } from '../ends-with-us.js';
import type { Fault } from '../hosts/agent/faults.js';
import { guestCanXgetbv } from '../hosts/summary.js';
import { msrExpectation } from '../probe-msrs.js';
import { DUE } from '../scenarios/due.js';
import { PLAYS } from '../scenarios/index.js';
import type { Play, Stage } from '../scenarios/scenario.js';
import { asFirstEmulator } from '../subjects/qemu/across.js';
import { type QemuExpectation, qemuExpectation } from '../subjects/qemu/expectation.js';
import { takesOsxsave } from '../subjects/qemu/on-qemu.js';
import { QEMU_DUE, QEMU_PLAYS } from '../subjects/qemu/plays.js';
import { type Cell, cellName, subjectOf } from './cell.js';
import { makeCellFolder } from './cell-folder.js';
import { expectationOf, hasApic, hasXsave } from './expectation.js';
import { type Judgement, judge } from './judge.js';
import { predict } from './predict.js';
import { refusedOtherwise } from './refusals.js';

export interface RunOptions {
  readonly allowAltered: boolean;
  readonly forceFeatures: boolean;
  /** Cells at a time. */
  readonly jobs: number;
  /** Where contracts are; default: those of the package. */
  readonly definitions?: Definitions;
  /** Runs also where the definitions show another CPU than the contract, so that a guest tells what it sees. */
  readonly runBroken?: boolean;
  readonly signal?: AbortSignal;
  /** A kernel fault to plant, for the control. */
  readonly fault?: Fault;
  /** Another life than the scenario's, for mutants and recorded steps: of any length. */
  readonly play?: Play;
  /** Something put around the life: what comes through it is judged. */
  readonly around?: (play: Play) => Play;
}

/** One result with what the guest saw. */
export interface CellEnd {
  readonly result: CellResult;
  readonly judgement: Judgement;
  /** What its guest had to show, and showed. */
  readonly life: Life;
}

/** Runs all cells; results come in the order in which cells end. Stops asking for more once `signal` is aborted. */
export async function* runCells(
  cells: readonly Cell[],
  options: RunOptions,
  onStart: (name: string) => void = () => {},
): AsyncGenerator<CellEnd> {
  const waiting = [...cells];
  const running = new Map<number, { readonly cell: Cell; readonly done: Promise<{ slot: number; end: CellEnd }> }>();
  try {
    for (let next = 0; waiting.length > 0 || running.size > 0; ) {
      while (running.size < options.jobs && waiting.length > 0 && !options.signal?.aborted) {
        const cell = takeNext(
          waiting,
          [...running.values()].map(({ cell }) => cell),
        );
        const slot = next++;
        onStart(cellName(cell));
        running.set(slot, { cell, done: runCell(cell, options).then((end) => ({ slot, end })) });
      }
      if (running.size === 0) return;
      const { slot, end } = await Promise.race([...running.values()].map(({ done }) => done));
      running.delete(slot);
      yield end;
    }
  } finally {
    // Where the caller stops early (its log cannot be written), cells under way end before their hosts are closed.
    await Promise.allSettled([...running.values()].map(({ done }) => done));
  }
}

/** Cells among which `takeNext` looks. */
const LOOK_AHEAD = 100;

/** Takes the first cell that shares the fewest hosts with those under way: a lab host has one CPU, and what it serves at once waits for each other. */
export function takeNext(waiting: Cell[], underWay: readonly Cell[]): Cell {
  const busy = new Set(underWay.flatMap(({ hosts }) => hosts));
  const shared = ({ hosts }: Cell): number => hosts.filter((host) => busy.has(host)).length;
  const counts = waiting.slice(0, LOOK_AHEAD).map(shared);
  return waiting.splice(counts.indexOf(Math.min(...counts)), 1)[0]!;
}

/** Runs one cell to its verdict. */
export async function runCell(cell: Cell, options: RunOptions): Promise<CellEnd> {
  const started = performance.now();
  const unplayable = mixedPath(cell);
  if (unplayable)
    return {
      judgement: unplayable,
      result: resultOf(cell, unplayable, 'none', options, 0),
      life: { expected: [], steps: [] },
    };
  const expectation = expectedOf(cell, options);
  const { vcpus, evidence, broken, msrs } = expectation;
  const { subject } = cell.hosts[0]!;
  // Most lives need no file: their folder is made when they first ask for it.
  let folder: string | null = null;
  try {
    const stage: Stage = {
      hosts: cell.hosts,
      get folder() {
        folder ??= makeCellFolder();
        return folder;
      },
      xgetbv:
        cell.hosts.every((host) => guestCanXgetbv(host.capabilities) && takesOsxsave(host, vcpus)) && hasXsave(vcpus),
      apic: hasApic(vcpus),
      request: {
        identity: identityToJson(cell.identity) as never,
        allowAltered: options.allowAltered,
        forceFeatures: options.forceFeatures,
        msrs: msrs.asked.map(hex32),
        fault: options.fault ?? null,
      },
    };
    const play = options.play ?? (subject ? QEMU_PLAYS : PLAYS)[cell.scenario];
    const due = options.play ? [] : (subject ? QEMU_DUE : DUE)[cell.scenario](stage);
    const played = (options.around?.(play) ?? play)(stage);
    const steps = subject ? asFirstEmulator(played, cell.identity, cell.hosts) : played;
    const judgement: Judgement =
      broken.length > 0 && !options.runBroken
        ? { verdict: 'changed', reasons: broken, forced: [], seen: [] }
        : await judge(steps, vcpus, msrs, subject?.accel, due);
    return {
      judgement,
      result: resultOf(cell, judgement, evidence, options, performance.now() - started),
      life: lifeOf(expectation, judgement.seen),
    };
  } finally {
    if (folder !== null) removeFolder(folder);
  }
}

export const lifeOf = ({ vcpus, msrs }: QemuExpectation, steps: Life['steps']): Life => ({
  expected: vcpus.map((vcpu) => ({ vcpu, msrs: msrs.values(vcpu.index) })),
  steps,
});

/** What the guest of a cell must show, by the definitions and contracts of today. */
export function expectedOf(cell: Cell, options: RunOptions): QemuExpectation {
  const { subject } = cell.hosts[0]!;
  if (subject) return qemuExpectation(cell, subject, options.definitions);
  const forcedOn = options.forceFeatures ? cell.hosts.map(({ capabilities }) => capabilities) : [];
  return {
    ...expectationOf(cell.identity, cell.smp, options.definitions),
    msrs: msrExpectation(cell.identity, forcedOn),
  };
}

/** No guest goes from a recorded host to a real one: there is none. */
function mixedPath({ hosts }: Cell): Judgement | null {
  const recorded = hosts.filter(({ summary }) => isRecorded({ hosts: [summary.id] }));
  if (recorded.length === 0 || recorded.length === hosts.length) return null;
  const message = 'a path over recorded and real hosts cannot be gone';
  const why = reason({ code: 'recorded-and-real', step: 'start', layer: 'harness', message });
  return { verdict: 'skipped', reasons: [why], forced: [], seen: [] };
}

function resultOf(cell: Cell, judgement: Judgement, evidence: string, options: RunOptions, ms: number): CellResult {
  const prediction = predict(cell, options);
  return {
    pair: cell.identity.pair,
    smp: cell.smp,
    subject: subjectOf(cell),
    hosts: cell.hosts.map((host) => host.summary.id),
    scenario: cell.scenario,
    verdict: judgement.verdict,
    predicted: prediction.verdict,
    forced: judgement.forced,
    evidence,
    reasons: [...refusedOtherwise(judgement, prediction), ...judgement.reasons],
    ms: Math.round(ms),
  };
}
