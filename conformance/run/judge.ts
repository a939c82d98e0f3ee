/** From the steps of a guest's life to a verdict. Everything that a guest saw is compared; the first break ends the cell. */
import { CpuidTable } from '../../corpora/cpuid.js';
import { GuestAbiError } from '../../corpora/errors.js';
import { featureName } from '../../corpora/features.js';
import type { VcpuIdentity } from '../../corpora/identity.js';
import { Kept } from '../../corpora/kept.js';
import { type ObservedMsr, type VcpuObservation, vcpuObservationFromJson } from '../../corpora/observation.js';
import { requirementOf } from '../../corpora/requirements.js';
import { type Layer, type Reason, reason, type Verdict } from '../../corpora/verdict.js';
import { loadVolatility } from '../../corpora/volatility/volatility.js';
import { derivedTable, POWER_ON } from '../../reference-vmm/cpu-model/derived.js';
import { alterations } from '../../reference-vmm/cpu-model/differences.js';
import { type CompareContext, compareObservations, compareVcpu, type ExpectedVcpu } from '../compare.js';
import { AgentGone, AgentSilent } from '../hosts/agent/client.js';
import type { Outcome } from '../hosts/agent/protocol.js';
import type { CpuidAnswerer } from '../oracle/expected-cpuid.js';
import { type MsrExpectation, NO_MSRS } from '../probe-msrs.js';
import type { MsrWrite, Step } from '../scenarios/scenario.js';

/** What each vCPU of the guest must see: the frozen tables. */
export type Expectation = readonly VcpuIdentity[];

export interface Judgement {
  readonly verdict: Verdict;
  readonly reasons: readonly Reason[];
  readonly forced: readonly string[];
  /** Every dump, in order; empty where the guest never ran. */
  readonly seen: readonly Dump[];
}

/** What each vCPU showed after a step. */
export interface Dump {
  readonly step: string;
  readonly vcpus: readonly VcpuObservation[];
}

const VOLATILITY = loadVolatility();

/** A kernel that changes tables changes those of most pairs alike. */
const knownAlterations = new Kept<readonly { readonly one: Reason; readonly key: string }[]>();

/** Errors of a host, or of this machine, that cannot play a scenario, whatever the guest. */
const HOST_CANNOT = new Set(['userfaultfd-missing', 'temporary-folder-too-long']);

type Running = Extract<Outcome, { kind: 'running' }>;

/** Plays a scenario to its end, or to the first step that does not keep the contract. `due`: the steps without which the end came early. */
export async function judge(
  steps: AsyncIterable<Step>,
  contract: Expectation,
  msrs: MsrExpectation = NO_MSRS,
  answerer: CpuidAnswerer = 'kvm',
  due: readonly string[] = [],
): Promise<Judgement> {
  const life = new Life(contract, msrs, answerer);
  try {
    for await (const step of steps) {
      const end = life.take(step);
      if (end) return end;
    }
  } catch (error) {
    return life.failed(error);
  }
  return life.end(due);
}

/** What is known of one guest's life so far. */
export class Life {
  readonly #contract: Expectation;
  readonly #msrs: MsrExpectation;
  readonly #answerer: CpuidAnswerer;
  readonly #dumps = new Map<string, readonly VcpuObservation[]>();
  #step = 'start';
  #altered: readonly Reason[] = [];
  #forced: readonly string[] = [];
  #seen: readonly VcpuObservation[] = [];

  constructor(contract: Expectation, msrs: MsrExpectation, answerer: CpuidAnswerer = 'kvm') {
    this.#answerer = answerer;
    this.#contract = contract;
    this.#msrs = msrs;
  }

  /** Takes the next step; a judgement where it ends the life. */
  take({ name, outcome, like, after, wrote = [] }: Step): Judgement | null {
    this.#step = name;
    if (outcome.kind === 'refused')
      return this.#judgement(
        'refused',
        outcome.reasons.map((why) => ({ ...why, step: name })),
      );
    // It says nothing of a contract, so it must not pass for a dump.
    if (outcome.kind === 'witnessed')
      return this.#judgement('crashed', [failure('crashed', name, 'a witness answered where a probe was asked', null)]);
    if (outcome.kind !== 'running')
      return this.#judgement(outcome.kind, [failure(outcome.kind, name, outcome.message, null)]);
    this.#seen = outcome.vcpus.map(vcpuObservationFromJson);
    this.#dumps.set(name, this.#seen);
    // What one host of a path forced or altered stays so, whatever the next one gives.
    this.#forced = [...new Set([...this.#forced, ...outcome.forced])];
    if (outcome.altered.length > 0) this.#altered = outcome.altered;
    const differences = [
      ...this.#fromContract(outcome, wrote),
      ...(like ? this.#fromBefore(like) : []),
      ...(after ? this.#outOfTurn({ step: after, sameBoot: true }) : []),
    ];
    if (differences.length === 0) return null;
    return this.#judgement(like?.sameBoot && differences.every(isOfState) ? 'dropped' : 'changed', differences);
  }

  /** A life of which a dump is missing says nothing of what would have come. */
  end(due: readonly string[] = []): Judgement {
    const missing = due.find((name) => !this.#dumps.has(name));
    if (missing !== undefined) {
      const message = `the life ended after step '${this.#step}', where '${missing}' was to come`;
      return this.#judgement('crashed', [failure('crashed', missing, message)]);
    }
    if (this.#dumps.size === 0) throw new Error('a scenario without steps proves nothing');
    return this.#altered.length > 0 ? this.#judgement('altered', this.#altered) : this.#judgement('identical', []);
  }

  /** Throws errors that say nothing of the guest: bugs, and a full disk, which ends the run. */
  failed(error: unknown): Judgement {
    if (!(error instanceof GuestAbiError) || error.code === 'file-not-written') throw error;
    const code = error instanceof AgentSilent ? 'hung' : error instanceof AgentGone ? 'crashed' : error.code;
    const verdict = code === 'hung' ? code : HOST_CANNOT.has(code) ? 'skipped' : 'crashed';
    return this.#judgement(verdict, [failure(code, this.#step, error.message)]);
  }

  /** Where the kernel altered the table (observed under --allow-altered), the guest must see exactly what was read back. */
  #fromContract({ altered, readBack }: Running, wrote: readonly MsrWrite[]): Reason[] {
    const tables =
      altered.length > 0 ? readBack.map((rows) => CpuidTable.fromJson(rows)) : this.#contract.map(({ cpuid }) => cpuid);
    if (this.#seen.length !== this.#contract.length || tables.length !== this.#contract.length)
      return [
        failure(
          'vcpu-count',
          this.#step,
          `contract has ${this.#contract.length} vCPUs, the guest dumped on ${this.#seen.length}`,
        ),
      ];
    const unsaid =
      altered.length > 0 ? this.#contract.flatMap((vcpu, i) => this.#unsaid(vcpu, tables[i]!, altered)) : [];
    const differences = this.#contract.flatMap(({ index, apicId }, i) => {
      const expected: ExpectedVcpu = {
        ...{
          index,
          apicId,
          cpuid: tables[i]!,
          msrs: written(this.#msrs.values(index), wrote, index),
          otherMsrs: this.#msrs.others,
        },
        rowsBeyondMaximum: altered.length > 0 ? 'not-compared' : 'different',
      };
      return compareVcpu(expected, this.#seen[i]!, this.#context());
    });
    return [...unsaid, ...differences];
  }

  /** How the table that was read back differs from the contract beyond what the agent called altered. */
  #unsaid({ index, cpuid }: VcpuIdentity, readBack: CpuidTable, altered: readonly Reason[]): Reason[] {
    const place = { step: this.#step, vcpu: index, nameOf: featureName };
    const said = new Set(altered.map(alterationKey));
    return knownAlterations
      .answer([place.step, index, cpuid.content, readBack.content].join('|'), () =>
        alterations(derivedTable(cpuid, POWER_ON), readBack, place).map((one) => ({ one, key: alterationKey(one) })),
      )
      .filter(({ key }) => !said.has(key))
      .map(({ one }) => one);
  }

  #fromBefore(like: NonNullable<Step['like']>): Reason[] {
    const context = { ...this.#context(), sameBoot: like.sameBoot };
    const before = this.#dumpOf(like.step);
    return [...compareObservations({ vcpus: before }, { vcpus: this.#seen }, context), ...this.#outOfTurn(like)];
  }

  /** Each vCPU counts its dumps from its boot: one that was sent before is none of this step, nor is that of a guest which began anew unasked. */
  #outOfTurn({ step, sameBoot }: NonNullable<Step['like']>): Reason[] {
    const before = this.#dumpOf(step);
    return this.#seen.flatMap(({ index, sequence }, i) => {
      const due = (before[i]?.sequence ?? 0) + (sameBoot ? 1 : 0);
      if (sequence === due) return [];
      const message = `dump ${sequence} of the guest's boot, where dump ${due} was due`;
      const facts = { code: 'dump-out-of-turn', step: this.#step, vcpu: index, message };
      return [reason({ ...facts, contract: `${due}`, guest: `${sequence}` })];
    });
  }

  #dumpOf(step: string): readonly VcpuObservation[] {
    const before = this.#dumps.get(step);
    if (!before) throw new Error(`step '${this.#step}' must be like '${step}', which was not made`);
    return before;
  }

  #context(): CompareContext {
    return {
      volatility: VOLATILITY,
      nameOf: featureName,
      step: this.#step,
      answerer: this.#answerer,
    };
  }

  #judgement(verdict: Verdict, reasons: readonly Reason[]): Judgement {
    const seen = [...this.#dumps].map(([step, vcpus]) => ({ step, vcpus }));
    return { verdict, reasons, forced: this.#forced, seen };
  }
}

/** Codes of what a guest holds, beside the CPU that it has. */
const STATE: ReadonlySet<string> = new Set(['msr-changed', 'register-changed', 'time-not-kept', 'dump-out-of-turn']);

/** Another value of what the guest has still: it came along, and was lost. What faults is not there any more: another CPU. */
const isOfState = ({ code, contract, guest }: Reason): boolean =>
  STATE.has(code) && contract?.startsWith('#') === false && guest?.startsWith('#') === false;

const alterationKey = ({ code, vcpu, leaf, subleaf, register, bit, contract, guest }: Reason): string =>
  JSON.stringify([code, vcpu, leaf, subleaf, register, bit, contract, guest]);

/** What the guest wrote itself must be there in place of the reset value. */
function written(reset: readonly ObservedMsr[], wrote: readonly MsrWrite[], on: number): readonly ObservedMsr[] {
  const own = new Map(wrote.filter(({ vcpu = on }) => vcpu === on).map(({ index, value }) => [index, value]));
  return own.size === 0
    ? reset
    : reset.map((msr) => {
        const value = own.get(msr.index);
        return value === undefined ? msr : { index: msr.index, value };
      });
}

/** What broke may be of any code: a guest that did not come to its dump. Whose fault it is that a guest ended, nobody can tell: null. */
const failure = (code: string, step: string, message: string, layer: Layer | null = 'harness'): Reason =>
  reason({ code, requirement: requirementOf(code) ?? 'ABI-RUN-001', step, message, layer });
