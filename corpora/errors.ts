/** Errors that a user can cause or mend: a stable code, the value at fault, the nearest allowed values, the exit code. */

/** What the command line exits with (DESIGN, "Command line"). */
export const EXIT = { holds: 0, broken: 1, usage: 2, cannot: 3 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export interface ErrorDetails {
  /** What was given, as the user wrote it. */
  readonly given?: string;
  /** Allowed values near to it, best first. */
  readonly nearest?: readonly string[];
  readonly cause?: unknown;
}

/**
 * Base of every expected error. `message` is one clear line for a person; `code` is stable for scripts (`unknown-model`).
 */
export class GuestAbiError extends Error {
  readonly code: string;
  readonly exitCode: ExitCode;
  readonly given: string | null;
  readonly nearest: readonly string[];

  constructor(code: string, exitCode: ExitCode, message: string, details: ErrorDetails = {}) {
    super(message, { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.exitCode = exitCode;
    this.given = details.given ?? null;
    this.nearest = details.nearest ?? [];
  }

  /** The object that stands under `error` in a `--json` answer. */
  toJSON(): { code: string; message: string; given: string | null; nearest: readonly string[] } {
    return { code: this.code, message: this.message, given: this.given, nearest: this.nearest };
  }
}

/** Bad input: exit code 2. */
export class InputError extends GuestAbiError {
  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(code, EXIT.usage, message, details);
  }
}

/** This machine cannot do it (no KVM, a missing capability, a full disk): exit code 3. */
export class MachineError extends GuestAbiError {
  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(code, EXIT.cannot, message, details);
  }
}

/** What the system says where a disk is full or takes nothing. */
const OF_THE_DISK = new Set(['ENOSPC', 'EDQUOT', 'EROFS']);

/** The error where it is expected, be it ours or the system's of a full disk; null for any other, which is a bug. */
export function knownError(error: unknown): GuestAbiError | null {
  if (error instanceof GuestAbiError) return error;
  const { code = '', message } = error as NodeJS.ErrnoException;
  return OF_THE_DISK.has(code) ? new MachineError('file-not-written', message, { cause: error }) : null;
}

/** An `InputError` for a name that is not in `allowed`; names up to three nearest ones. `kind` is e.g. `CPU model`. */
export function unknownName(kind: string, given: string, allowed: Iterable<string>): InputError {
  const nearest = nearestNames(given, allowed);
  const hint = nearest.length ? `; nearest: ${nearest.join(', ')}` : '';
  return new InputError(`unknown-${kind.toLowerCase().replaceAll(' ', '-')}`, `unknown ${kind} '${given}'${hint}`, {
    given,
    nearest,
  });
}

/** The names closest to `given` by edit distance (case ignored), best first, at most three; none that shares too little. */
export function nearestNames(given: string, allowed: Iterable<string>): string[] {
  const wanted = given.toLowerCase();
  return [...allowed]
    .map((name) => ({ name, distance: editDistance(wanted, name.toLowerCase()) }))
    .filter(({ name, distance }) => distance <= Math.max(2, Math.max(name.length, given.length) / 3))
    .sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1))
    .slice(0, 3)
    .map(({ name }) => name);
}

/** Levenshtein distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitution, previous[j]! + 1, row[j - 1]! + 1));
    }
    previous = row;
  }
  return previous[b.length]!;
}
