/** migrate: the guest moves live to another process, host after host along the path, each time after an attempt that is given up; it dumps after each. */
import { join } from 'node:path';
import { GuestAbiError } from '../../corpora/errors.js';
import { type Reason, reason } from '../../corpora/verdict.js';
import type { Outcome, Params } from '../hosts/agent/protocol.js';
import { bridgeSockets } from '../hosts/bridge.js';
import type { AgentSession, Host } from '../hosts/host.js';
import { bootSteps, lastBootStep } from './boot.js';
import type { Stage, Step } from './scenario.js';
import { sendTo } from './send.js';

/** A host and the guest's agent on it. */
interface Place {
  readonly host: Host;
  readonly session: AgentSession;
}

export async function* migrate(stage: Stage): AsyncGenerator<Step> {
  const [first, ...path] = stage.hosts;
  if (path.length === 0) throw new Error('a migration over one place moves nothing');
  let source: Place = { host: first!, session: await first!.warm() };
  try {
    yield* bootSteps(source.session.agent, stage);
    // Each dump must repeat the one before: time goes on from host to host.
    let last = lastBootStep(stage);
    for (const [i, host] of path.entries()) {
      // Another process, since the source's is still in use.
      const session = await host.warm();
      const destination: Place = { host, session };
      try {
        // First an attempt that is given up: the guest is where it was, and can be moved all the same.
        const giveUp = GIVEN_UP[i % GIVEN_UP.length]!;
        const name = `hop-${i + 1}`;
        const outcome = yield* hop(source, destination, stage, { name, last, giveUp });
        if (outcome === 'stayed') yield* hop(source, destination, stage, { name, last: attemptName(name, giveUp) });
        last = name;
      } finally {
        await source.session[Symbol.asyncDispose]();
        source = destination;
      }
    }
  } finally {
    await source.session[Symbol.asyncDispose]();
  }
}

const GIVEN_UP = ['cancelled', 'cut'] as const;
type GiveUp = (typeof GIVEN_UP)[number];

/** A guest that did not move showed nothing of the move. */
const GIVEN_UP_UNASKED = { kind: 'crashed', message: 'the source gave the migration up, unasked' } as const;

interface Hop {
  readonly name: string;
  /** The step of the guest's last dump. */
  readonly last: string;
  readonly giveUp?: GiveUp;
}

const attemptName = (name: string, giveUp: GiveUp): string => `${name}-${giveUp}`;

/** The source says what the destination answered; where it handed over, the destination's guest dumps. */
async function* hop(
  source: Place,
  destination: Place,
  stage: Stage,
  { name, last, giveUp }: Hop,
): AsyncGenerator<Step, 'moved' | 'stayed'> {
  const socket = join(stage.folder, `${giveUp ? attemptName(name, giveUp) : name}.sock`);
  const like = { step: last, sameBoot: true };
  const refused = await listen(destination, { ...stage.request, socket });
  if (refused) {
    yield { name, outcome: { kind: 'refused', reasons: [refused] } };
    return 'moved';
  }
  const apart = source.host !== destination.host;
  await using bridge = apart ? await bridgeSockets(source.session, destination.session, socket) : null;
  const sent = await sendTo(destination.session, source.session, {
    socket: bridge?.path ?? socket,
    ...(giveUp && { giveUp }),
  });
  if (sent.kind === 'stayed' && giveUp) {
    const outcome = await source.session.agent.call('command', { command: 'dump' });
    yield { name: attemptName(name, giveUp), outcome, like };
    return 'stayed';
  }
  const gaveUp = sent.kind !== 'sent';
  if (gaveUp) {
    // The destination sees the end of the link.
    await bridge?.[Symbol.asyncDispose]();
    const outcome = sent.kind === 'stayed' ? GIVEN_UP_UNASKED : await withWordOf(destination, sent);
    yield { name: `${name}-source`, outcome };
  }
  yield {
    name,
    outcome: await destination.session.agent.call('received', gaveUp ? { gaveUp } : {}),
    like,
  };
  return 'moved';
}

/** What a QEMU's source says and, which it does not know, why its destination did not take the guest. */
async function withWordOf({ host, session }: Place, sent: Outcome): Promise<Outcome> {
  if (sent.kind !== 'refused' || !host.subject) return sent;
  const word = await session.agent.call('received', { gaveUp: true });
  return word.kind === 'refused' ? { ...sent, reasons: [...sent.reasons, ...word.reasons] } : sent;
}

/** Null where the destination waits for the guest. A QEMU that has not the machine, or will not have the CPU, says so before anything is sent. */
async function listen({ session }: Place, request: Params<'listen'>): Promise<Reason | null> {
  try {
    await session.agent.call('listen', request);
    return null;
  } catch (error) {
    if (!(error instanceof GuestAbiError) || !error.code.startsWith('qemu-')) throw error;
    return reason({ code: error.code, step: 'destination', layer: 'monitor', message: error.message });
  }
}
