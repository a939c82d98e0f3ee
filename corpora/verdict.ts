/** Cells, verdicts and reasons: what a run says, in the words of the result log. */
import type { Register } from './cpuid.js';
import { requirementOf } from './requirements.js';

export const VERDICTS = [
  'identical',
  'refused',
  'changed',
  'dropped',
  'altered',
  'crashed',
  'hung',
  'skipped',
] as const;
export type Verdict = (typeof VERDICTS)[number];

export const SCENARIOS = ['boot', 'reset', 'cold-start', 'snapshot-restore', 'live-snapshot', 'migrate'] as const;
export type Scenario = (typeof SCENARIOS)[number];

/** The layer that a reason lays the difference to, where that can be told. */
export type Layer = 'host-cpu' | 'kernel' | 'monitor' | 'guest' | 'harness';

/** One named cause of a verdict. Fields that do not apply are null. Values are hex strings. */
export interface Reason {
  /** Stable, e.g. `cpuid-not-offered`, `cpuid-altered`, `msr-not-settable`. */
  readonly code: string;
  /** Id of the requirement that it breaks (`corpora/requirements.json`); null only in logs of older versions. */
  readonly requirement: string | null;
  /** The step of the scenario, e.g. `boot`, `destination`. */
  readonly step: string;
  readonly vcpu: number | null;
  readonly leaf: string | null;
  readonly subleaf: string | null;
  readonly register: Register | null;
  readonly bit: number | null;
  readonly msr: string | null;
  /** QEMU's name of the feature. */
  readonly feature: string | null;
  /** What the contract says. */
  readonly contract: string | null;
  /** What the guest sees or the host offers. */
  readonly guest: string | null;
  readonly layer: Layer | null;
  /** One line for a person. */
  readonly message: string;
}

/** The facts of a reason; the requirement follows from the code, everything else left out is null. */
export type ReasonFacts = Pick<Reason, 'code' | 'step' | 'message'> & Partial<Reason>;

/** A reason with its absent fields filled in. */
export const reason = ({
  code,
  requirement = requirementOf(code),
  step,
  vcpu = null,
  leaf = null,
  subleaf = null,
  register = null,
  bit = null,
  msr = null,
  feature = null,
  contract = null,
  guest = null,
  layer = null,
  message,
}: ReasonFacts): Reason => ({
  code,
  requirement,
  step,
  vcpu,
  leaf,
  subleaf,
  register,
  bit,
  msr,
  feature,
  contract,
  guest,
  layer,
  message,
});

/** One cell and what it came to (DESIGN, "cell", "predicted", "forced", "evidence"). */
export interface CellResult {
  readonly pair: string;
  /** `1`, `8c4t2`. */
  readonly smp: string;
  readonly subject: string;
  /** Exact host ids, in the order of the path. */
  readonly hosts: readonly string[];
  readonly scenario: Scenario;
  readonly verdict: Verdict;
  readonly predicted: Verdict;
  /** Features exposed although the host does not offer them. */
  readonly forced: readonly string[];
  readonly evidence: string;
  readonly reasons: readonly Reason[];
  /** Wall time in milliseconds. */
  readonly ms: number;
}

/** The code that a refusal carries where another was predicted: the host refuses, and none of its reasons is one that it was to have. */
export const REFUSED_OTHERWISE = 'refused-otherwise';

/** True where the verdict, or why it was a refusal, is not what was predicted, and so counts as a break. */
export const isUnexpected = ({
  verdict,
  predicted,
  reasons,
}: Pick<CellResult, 'verdict' | 'predicted' | 'reasons'>): boolean =>
  verdict !== 'skipped' && (verdict !== predicted || reasons.some(({ code }) => code === REFUSED_OTHERWISE));

/** What was predicted of a cell that is unexpected: `identical`, `refused for other reasons`. */
export const expectedWord = ({ verdict, predicted }: Pick<CellResult, 'verdict' | 'predicted'>): string =>
  predicted === verdict ? `${predicted} for other reasons` : predicted;
