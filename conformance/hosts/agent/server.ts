/**
 * The agent's side of the protocol: reads requests, calls the handler of each, answers in order. It takes the runner's word for the shape of parameters (both
 * are one version, which the runner checks) and does not load their schemas: an agent starts often, on slow emulated hosts.
 */
import type { Readable, Writable } from 'node:stream';
import { EXIT, InputError, knownError } from '../../../corpora/errors.js';
import { PACKAGE_VERSION } from '../../version.js';
import { AGENT_SCHEMA, linesOf } from './lines.js';
import type { Operation, Params, Result } from './protocol.js';

/** What an agent does for each operation. An error thrown becomes the reply's error. */
export type Handlers = { readonly [O in Operation]: (params: Params<O>) => Result<O> | Promise<Result<O>> };

/** Serves until the input ends. */
export async function serveAgent(input: Readable, output: Writable, handlers: Handlers): Promise<void> {
  const say = (message: unknown): void => void output.write(`${JSON.stringify(message)}\n`);
  say({ schema: AGENT_SCHEMA, version: PACKAGE_VERSION });
  for await (const line of linesOf(input)) {
    if (line === '') continue;
    say(await answer(line, handlers));
  }
}

async function answer(line: string, handlers: Handlers): Promise<unknown> {
  let id = 0;
  try {
    const request = JSON.parse(line) as { id: number; op: Operation; params: never };
    id = request.id;
    if (!Object.hasOwn(handlers, request.op))
      throw new InputError('unknown-operation', `this agent knows no operation '${request.op}'`);
    return { id, result: await handlers[request.op](request.params) };
  } catch (error) {
    return { id, error: errorReply(error) };
  }
}

function errorReply(error: unknown): unknown {
  const known = knownError(error);
  if (known) return { ...known.toJSON(), exitCode: known.exitCode };
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: 'agent-internal', message, given: null, nearest: [], exitCode: EXIT.cannot };
}
