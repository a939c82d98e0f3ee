/** What the page holds of a log: every distinct thing once, cells as numbers that point to them. */

/** Indices into the lists of `ReportData`. */
export interface Cell {
  readonly machine: number;
  readonly cpu: number;
  readonly path: number;
  readonly scenario: number;
  readonly shape: number;
  readonly verdict: Verdict;
  readonly predicted: Verdict;
  readonly forced: number;
  readonly evidence: number;
  readonly reasons: number;
  /** -1: never run. */
  readonly life: number;
  /** Id of one of the page's statuses. */
  readonly status: string;
  readonly ms: number;
}

export type Verdict = 'identical' | 'refused' | 'changed' | 'dropped' | 'altered' | 'crashed' | 'hung' | 'skipped';

/** A subject on a path of hosts. */
export interface Path {
  readonly subject: string;
  readonly hosts: readonly string[];
}

export interface Finding {
  readonly code: string;
  readonly requirement: string | null;
  readonly step: string;
  readonly vcpu: number | null;
  /** `00000001 -` as rows begin. */
  readonly place: string | null;
  /** 0 to 3: EAX to EDX. */
  readonly register: number | null;
  readonly bit: number | null;
  /** 8 hex digits. */
  readonly msr: string | null;
  readonly feature: string | null;
  readonly layer: string | null;
  readonly message: string;
}

/** A set of findings, with the lines that tell it. */
export interface Findings {
  readonly lines: readonly string[];
  readonly each: readonly Finding[];
}

export interface Vcpu {
  readonly index: number;
  readonly apicId: number;
  readonly cpuid: number;
  readonly msrs: number;
  /** Name and value; empty for what a contract says. */
  readonly registers: readonly (readonly [string, string])[];
}

export interface Life {
  readonly expected: readonly Vcpu[];
  readonly steps: readonly { readonly step: string; readonly vcpus: readonly Vcpu[] }[];
}

export interface Host {
  readonly id: string;
  readonly kernel: string;
  readonly module: string;
  readonly cpu: string;
  readonly note: string;
}

export interface ReportData {
  readonly version: string;
  readonly options: string;
  readonly hosts: readonly Host[];
  readonly machines: readonly string[];
  readonly cpus: readonly string[];
  readonly paths: readonly Path[];
  readonly scenarios: readonly string[];
  readonly shapes: readonly string[];
  readonly forced: readonly (readonly string[])[];
  readonly evidences: readonly string[];
  readonly findings: readonly Findings[];
  readonly lives: readonly Life[];
  /** Rows by their place in `rows`. */
  readonly tables: readonly (readonly number[])[];
  /** `leaf subleaf eax ebx ecx edx`, or `msr value`, in hex. */
  readonly rows: readonly string[];
  readonly cells: readonly Cell[];
  /** By field, `00000001 - 0` (leaf, subleaf, register): names by bit. */
  readonly features: Readonly<Record<string, Readonly<Record<number, string>>>>;
  /** By index, 8 hex digits. */
  readonly msrs: Readonly<Record<string, string>>;
  readonly requirements: Readonly<Record<string, string>>;
}
