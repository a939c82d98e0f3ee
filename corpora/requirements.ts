/** The requirements: what a stable guest CPU ABI must hold, each with a stable id, and which reasons break it. Data in `requirements.json`. */
import { readFileSync } from 'node:fs';
import { packageFile } from './package-root.js';

export interface Requirement {
  /** `ABI-CPUID-001`; never given to another sentence. */
  readonly id: string;
  /** What must hold, in one sentence. */
  readonly sentence: string;
  readonly sources: readonly string[];
  /** Codes of the reasons that say that it was broken; `kvm-*` stands for all that begin so. Each code is of one requirement. */
  readonly codes: readonly string[];
}

export interface RequirementsFile {
  readonly schema: 'guest-abi/requirements/1';
  readonly requirements: readonly Requirement[];
}

export const requirementsPath = (): string => packageFile('corpora/requirements.json');

let all: readonly Requirement[] | undefined;
let ids: ReadonlyMap<string, string> | undefined;

/** All requirements; read once. */
export function requirements(): readonly Requirement[] {
  all ??= (JSON.parse(readFileSync(requirementsPath(), 'utf8')) as RequirementsFile).requirements;
  return all;
}

/** The id of the requirement that a reason of this code breaks; null for a code that no requirement names. */
export function requirementOf(code: string): string | null {
  ids ??= new Map(requirements().flatMap(({ id, codes }) => codes.map((one) => [one, id] as const)));
  return ids.get(code) ?? ids.get(`${code.slice(0, code.indexOf('-') + 1)}*`) ?? null;
}
