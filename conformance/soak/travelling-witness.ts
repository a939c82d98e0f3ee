/** The guest of a soak between two hosts: the witness, moved there and back by the agents and over the link that the suite's `migrate` uses. */
import { randomUUID } from 'node:crypto';
import { InputError } from '../../corpora/errors.js';
import { identityToJson } from '../../corpora/identity.js';
import { outcomeText } from '../hosts/agent/outcome-text.js';
import type { Params } from '../hosts/agent/protocol.js';
import { bridgeSockets } from '../hosts/bridge.js';
import type { AgentSession, Host } from '../hosts/host.js';
import { altersCpuid, guestCanXgetbv } from '../hosts/summary.js';
import type { Tally } from './activity.js';
import { identityOf, type SoakShape } from './witness-guest.js';

/** Emulated hosts on a busy machine. */
const DEADLINE_MS = 300_000;
/** Of so many migrations one is given up first: cancelled, or its link cut while the guest stands still. */
const GIVEN_UP_ONCE_IN = 5;
const MIB = 1024 * 1024;

export class TravellingWitness implements AsyncDisposable {
  readonly #hosts: readonly Host[];
  readonly #request: Params<'boot'>;
  readonly #tally: Tally;
  /** Which of the hosts has the guest, and its agent there. */
  #at = 0;
  #session: AgentSession;

  private constructor(hosts: readonly Host[], request: Params<'boot'>, tally: Tally, session: AgentSession) {
    this.#hosts = hosts;
    this.#request = request;
    this.#tally = tally;
    this.#session = session;
  }

  /** Boots it on the first of two hosts. Throws `InputError` `bad-path` on another number of them. */
  static async start(hosts: readonly Host[], shape: SoakShape, tally: Tally): Promise<TravellingWitness> {
    if (hosts.length !== 2)
      throw new InputError('bad-path', `a soak goes there and back between 2 hosts, not ${hosts.length}`, {
        given: hosts.map(({ summary }) => summary.id).join(', '),
      });
    const xcr0 = hosts.every(({ capabilities }) => guestCanXgetbv(capabilities));
    const identity = identityOf(shape, xcr0 ? 'SandyBridge' : 'Nehalem');
    const request: Params<'boot'> = {
      identity: structuredClone(identityToJson(identity)) as never,
      allowAltered: hosts.some(({ capabilities }) => altersCpuid(capabilities)),
      forceFeatures: true,
      ...{ msrs: [], fault: null },
      witness: { memory: shape.memoryBytes / MIB, seed: shape.seed, xcr0 },
    };
    const witness = new TravellingWitness(hosts, request, tally, await hosts[0]!.warm());
    try {
      await witness.#check('boot', request);
      return witness;
    } catch (error) {
      await witness[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** To the other host. Throws where anything is refused, lost or changed. */
  async migrate(): Promise<void> {
    const { random, count } = this.#tally;
    const next = 1 - this.#at;
    const session = await this.#hosts[next]!.warm();
    try {
      if (random(GIVEN_UP_ONCE_IN) === 0) {
        const giveUp = random(2) === 0 ? 'cancelled' : 'cut';
        if ((await this.#send(session, giveUp)) !== 'stayed') throw new Error(`a migration that is ${giveUp} arrived`);
        await this.#check('command', { command: 'dump' });
        count(giveUp);
      }
      if ((await this.#send(session)) !== 'sent') throw new Error('a migration was given up by itself');
    } catch (error) {
      await session[Symbol.asyncDispose]();
      throw error;
    }
    await this.#session[Symbol.asyncDispose]();
    this.#session = session;
    this.#at = next;
    await this.#check('received', {});
    count(`moved ${this.#hosts[1 - next]!.summary.id} > ${this.#hosts[next]!.summary.id}`);
  }

  /** Saved while it writes; sometimes it is the one from the file, on the other host, that goes on. */
  async saveLive(): Promise<void> {
    const { random, count } = this.#tally;
    const file = `/tmp/${randomUUID()}.snapshot`;
    await this.#check('save-live', { file });
    await this.#check('command', { command: 'dump' });
    const { gzip } = await this.#session.agent.call('fetch', { file }, DEADLINE_MS);
    await this.#session.agent.call('remove', { file }, DEADLINE_MS);
    count('saved live');
    if (random(2) === 0) return;
    const session = await this.#hosts[1 - this.#at]!.warm();
    await this.#session[Symbol.asyncDispose]();
    this.#session = session;
    this.#at = 1 - this.#at;
    await session.agent.call('put', { file, gzip }, DEADLINE_MS);
    await this.#check('restore', { ...this.#request, file, lazy: random(2) === 0 });
    await session.agent.call('remove', { file }, DEADLINE_MS);
    count('gone on from the image on the other host');
  }

  async #send(to: AgentSession, giveUp?: 'cancelled' | 'cut'): Promise<'sent' | 'stayed'> {
    const socket = `/tmp/guest-abi-soak/${randomUUID()}.sock`;
    await to.agent.call('listen', { ...this.#request, socket }, DEADLINE_MS);
    await using bridge = await bridgeSockets(this.#session, to, socket);
    const maxRounds = 2 + this.#tally.random(3);
    const how = { socket: bridge.path, maxRounds, ...(giveUp && { giveUp }) };
    const sent = await this.#session.agent.call('send', how, DEADLINE_MS);
    if (sent.kind === 'sent' || sent.kind === 'stayed') return sent.kind;
    throw new Error(`send: ${outcomeText(sent)}`);
  }

  /** What every vCPU witnessed after an operation is nothing. */
  async #check<O extends 'boot' | 'command' | 'received' | 'save-live' | 'restore'>(
    op: O,
    params: Params<O>,
  ): Promise<void> {
    const outcome = await this.#session.agent.call(op, params, DEADLINE_MS);
    const where = `${op} on ${this.#hosts[this.#at]!.summary.id}`;
    if (outcome.kind !== 'witnessed') throw new Error(`${where}: ${outcomeText(outcome)}`);
    const changes = outcome.vcpus.flatMap((vcpu) => vcpu.changes);
    if (changes.length > 0) throw new Error(`${where}: ${changes.join('\n')}`);
    if (outcome.vcpus.some(({ passes }) => passes === 0)) throw new Error(`${where}: a vCPU witnessed nothing`);
    this.#tally.count('records without a change', outcome.vcpus.length);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]();
  }
}
