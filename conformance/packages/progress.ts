/** Progress of long work, as callbacks: who shows it (a terminal, a log, nobody) decides elsewhere. */

export interface ProgressEvent {
  /** What is being done, for a person: `packages of qemu-10.0`. */
  readonly step: string;
  /** Bytes or items done; null where only the step is known. */
  readonly done: number | null;
  readonly total: number | null;
}

export type Progress = (event: ProgressEvent) => void;

export const silent: Progress = () => {};
