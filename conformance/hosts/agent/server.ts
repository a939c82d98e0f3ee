/** The agent's side of the protocol: reads requests, calls the handler of each, answers in order. */
import type { Readable, Writable } from 'node:stream';
import { GuestAbiError } from '../../../corpora/errors.js';
import { PACKAGE_VERSION } from '../../version.js';
import { linesOf } from './lines.js';
import { AGENT_SCHEMA, OPERATIONS, type Operation, type Params, type Result, requestSchema } from './protocol.js';

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
    const request = requestSchema.parse(JSON.parse(line));
    id = request.id;
    const handler = handlers[request.op] as (params: unknown) => unknown;
    return { id, result: await handler(OPERATIONS[request.op].params.parse(request.params)) };
  } catch (error) {
    return { id, error: errorReply(error) };
  }
}

function errorReply(error: unknown): unknown {
  if (error instanceof GuestAbiError) return { ...error.toJSON(), exitCode: error.exitCode };
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: 'agent-internal', message, given: null, nearest: [], exitCode: 3 };
}
