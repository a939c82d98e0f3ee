/** What a QMP command is. */
import type { Shape } from './qmp-arguments.js';

export interface QmpCommand {
  readonly takes: Shape;
  /** `given` is of the shape. Gives the `return`; undefined is the empty object. Throws `QmpError`. */
  readonly run: (given: never) => unknown;
}

export type QmpCommands = Readonly<Record<string, QmpCommand>>;

/** A command with the type of its arguments. */
export const command = <Given>(takes: Shape, run: (given: Given) => unknown): QmpCommand => ({ takes, run });

/** Tells clients what happened. */
export type EmitEvent = (event: string, data?: object) => void;
