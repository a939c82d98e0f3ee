/** One guest living on real agents, event after event: each step is judged, and must come out as it was predicted before. */
import { join } from 'node:path';
import { hex32 } from '../../corpora/hex.js';
import { type CpuIdentity, identityToJson, type MsrValue, msrToJson } from '../../corpora/identity.js';
import type { Verdict } from '../../corpora/verdict.js';
import { effectsOf, isOfMachine, legalWrites } from '../../reference-vmm/cpu-model/msr-values.js';
import { isOpen } from '../../reference-vmm/cpu-model/msrs.js';
import { isRecorded } from '../../reports/result-log.js';
import { removeFolder } from '../ends-with-us.js';
import type { Outcome, Params } from '../hosts/agent/protocol.js';
import { bridgeSockets } from '../hosts/bridge.js';
import type { AgentSession, Host } from '../hosts/host.js';
import { guestCanXgetbv } from '../hosts/summary.js';
import { msrExpectation } from '../probe-msrs.js';
import { makeCellFolder } from '../run/cell-folder.js';
import { expectationOf, hasApic, hasXsave } from '../run/expectation.js';
import { Life } from '../run/judge.js';
import { type PredictOptions, predict } from '../run/predict.js';
import type { MsrWrite, Step } from '../scenarios/scenario.js';
import { sendTo } from '../scenarios/send.js';

export interface LifeStage extends PredictOptions {
  readonly identity: CpuIdentity;
  readonly smp: string;
  /** At least one; the guest begins on the first that it is predicted to run on. */
  readonly hosts: readonly Host[];
}

/** What happened at one step, for counting. */
export interface LifeStep {
  readonly event: string;
  readonly verdict: Verdict;
  /** True where no kernel ran: it proves nothing of one. */
  readonly recorded: boolean;
  /** Kernel versions before and after, where the guest moved. */
  readonly moved: readonly [string, string] | null;
}

/** A step came out otherwise than predicted: the finding that a property is after. */
export class UnexpectedStep extends Error {}

/** Where a guest lets KVM write: RAM that the probe does not use. */
const SPARE = { page: 0x3f_f000 };
const STAYS_ONCE_IN = 8;

type ResetCommand = 'reset-port' | 'reset-keyboard' | 'triple-fault' | 'init';

/** What the guest must show until it changes something itself. */
interface Guest {
  /** The step that the next dump must repeat: its last, so that its time is held to go on from dump to dump. */
  readonly like: string;
  readonly wrote: readonly MsrWrite[];
}

const JUST_BOOTED: Guest = { like: 'boot', wrote: [] };

interface Snapshot extends Guest {
  readonly gzip: string;
  readonly host: Host;
}

export class GuestLife implements AsyncDisposable {
  readonly steps: LifeStep[] = [];
  readonly #stage: LifeStage;
  readonly #folder: string;
  readonly #life: Life;
  readonly #writes: readonly MsrValue[];
  readonly #asked: readonly string[];
  #identity: CpuIdentity;
  #predictions: { readonly identity: CpuIdentity; readonly verdicts: Map<string, Verdict> };
  #place: { host: Host; session: AgentSession } | null = null;
  #guest = JUST_BOOTED;
  #saved: Snapshot | null = null;

  private constructor(stage: LifeStage, folder: string) {
    const { identity, smp, hosts, forceFeatures } = stage;
    this.#stage = stage;
    this.#folder = folder;
    this.#identity = identity;
    this.#predictions = { identity, verdicts: new Map() };
    const msrs = msrExpectation(identity, forceFeatures ? hosts.map(({ capabilities }) => capabilities) : []);
    this.#asked = msrs.asked.map(hex32);
    this.#life = new Life(expectationOf(identity, smp).vcpus, msrs);
    const asked = new Set(msrs.asked);
    this.#writes = isOpen(identity)
      ? []
      : legalWrites(identity, SPARE).filter(
          ({ index }) => asked.has(index) && !hosts.some(({ lostMsrs }) => lostMsrs?.has(index)),
        );
  }

  static async begin(stage: LifeStage): Promise<GuestLife> {
    const life = new GuestLife(stage, makeCellFolder());
    const host = stage.hosts.find((one) => life.#predicted([one]) !== 'refused') ?? stage.hosts[0]!;
    await life.#startOn(host, 'boot', null);
    return life;
  }

  /** False once the guest was refused where it should start, or came to an end. */
  get alive(): boolean {
    return this.#place !== null;
  }

  get hasSnapshot(): boolean {
    return this.#saved !== null;
  }

  get canWriteMsrs(): boolean {
    return this.#writes.length > 0;
  }

  get canSetXcr0(): boolean {
    const everywhere = this.#stage.hosts.every(({ capabilities }) => guestCanXgetbv(capabilities));
    return everywhere && hasXsave(this.#identity.vcpus);
  }

  get canInit(): boolean {
    return hasApic(this.#identity.vcpus);
  }

  /** The guest runs on and dumps. */
  async dump(): Promise<void> {
    this.#takeUnchanged('dump', await this.#agent.call('command', { command: 'dump' }));
  }

  /** The guest sets OSXSAVE and XCR0. */
  async setXcr0(): Promise<void> {
    const outcome = await this.#agent.call('command', { command: 'dump-xcr0' });
    this.#takeChanged('xcr0', outcome, this.#guest.wrote);
  }

  /** The guest writes a legal value to one of its MSRs: mostly on one vCPU alone, so that no two hold the same. */
  async writeMsr(pick: number): Promise<void> {
    const { index } = this.#writes[pick % this.#writes.length]!;
    const msr = legalWrites(this.#identity, SPARE, pick).find((one) => one.index === index)!;
    const many = this.#identity.vcpus.length;
    const on = many === 1 || isOfMachine(index) || pick % (many + 1) === many ? {} : { vcpu: pick % (many + 1) };
    const outcome = await this.#agent.call('write-msr', { ...msrToJson(msr), ...on });
    const effects = effectsOf(msr).map((effect) => ({ ...effect, ...on }));
    this.#takeChanged('write-msr', outcome, [...this.#guest.wrote, ...effects]);
  }

  async reset(command: ResetCommand): Promise<void> {
    const outcome = await this.#agent.call('command', { command });
    this.#guest = JUST_BOOTED;
    this.#take(command, outcome, { like: { step: 'boot', sameBoot: false } });
  }

  /** The guest is shut down and starts again: in a new process, on the host that `pick` names. Where that one refuses, on the old. */
  async coldStart(event: 'cold-start' | 'kernel-update', pick: number): Promise<void> {
    const before = this.#place!.host;
    const host = event === 'cold-start' ? before : this.#hostAt(pick);
    await this.#end();
    await this.#startOn(host, event, before);
    if (!this.alive) await this.#startOn(before, 'rollback', before);
  }

  /** The guest is saved, and goes on. */
  async snapshot(): Promise<void> {
    await this.#save();
    await this.dump();
  }

  /** The guest is saved while it runs and dumps. */
  async liveSnapshot(): Promise<void> {
    const file = this.#file;
    // The image is of the moment of the request: before this dump, which may come later than one of who is restored.
    const asked = this.#guest;
    this.#takeUnchanged('live-snapshot', await this.#agent.call('save-live', { file }));
    await this.#keepSnapshot(asked);
    await this.dump();
  }

  /** The last snapshot replaces the guest, on the host that `pick` names. Where that one refuses it, the guest goes on. */
  async restore(pick: number): Promise<void> {
    await this.#restoreOn(this.#hostAt(pick), 'restore', this.#saved!);
  }

  /** The hypervisor's definitions are upgraded under the guest: saved by the old version, restored by the new. */
  async upgrade(upgraded: CpuIdentity): Promise<void> {
    await this.#save();
    this.#identity = upgraded;
    await this.#restoreOn(this.#place!.host, 'upgrade', this.#saved!);
  }

  /** The guest moves to the host that `pick` names. Where that one refuses, or where it is given up before the hand-over, it goes on where it is. */
  async migrate(pick: number, giveUp?: 'cancelled' | 'cut'): Promise<void> {
    const source = this.#place!;
    const host = this.#hostAt(pick);
    const session = await host.warm();
    const socket = join(this.#folder, `${this.steps.length}.sock`);
    let moved = false;
    try {
      await session.agent.call('listen', { ...this.#request, socket });
      const apart = host !== source.host;
      await using bridge = apart ? await bridgeSockets(source.session, session, socket) : null;
      const how = { socket: bridge?.path ?? socket, ...(giveUp && { giveUp }) };
      const sent = await sendTo(session, source.session, how);
      if (sent.kind === 'stayed') {
        if (!giveUp) throw new UnexpectedStep('the source gave the migration up, unasked');
        this.#takeUnchanged(giveUp, await this.#agent.call('command', { command: 'dump' }));
        return;
      }
      const outcome = sent.kind === 'sent' ? await session.agent.call('received', {}) : sent;
      moved = outcome.kind === 'running';
      if (moved) this.#place = { host, session };
      this.#takeUnchanged('migrate', outcome, [source.host, host]);
    } finally {
      await (moved ? source.session : session)[Symbol.asyncDispose]();
    }
    if (!moved) await this.dump();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    removeFolder(this.#folder);
  }

  get #agent(): AgentSession['agent'] {
    return this.#place!.session.agent;
  }

  get #request(): Params<'boot'> {
    const { allowAltered, forceFeatures } = this.#stage;
    const identity = structuredClone(identityToJson(this.#identity)) as never;
    return { identity, allowAltered, forceFeatures, msrs: [...this.#asked], fault: null };
  }

  /** Mostly another host than the one that the guest is on. */
  #hostAt(pick: number): Host {
    const here = this.#place!.host;
    const others = this.#stage.hosts.filter((host) => host !== here);
    return others.length === 0 || pick % STAYS_ONCE_IN === 0 ? here : others[pick % others.length]!;
  }

  #predicted(hosts: readonly Host[]): Verdict {
    const path = hosts.map(({ summary }) => summary.id).join(' > ');
    if (this.#predictions.identity !== this.#identity)
      this.#predictions = { identity: this.#identity, verdicts: new Map() };
    const { verdicts } = this.#predictions;
    const verdict = verdicts.get(path) ?? predict({ identity: this.#identity, hosts }, this.#stage).verdict;
    verdicts.set(path, verdict);
    return verdict;
  }

  async #startOn(host: Host, name: string, before: Host | null): Promise<void> {
    const session = await (before ? host.open() : host.warm());
    const outcome = await session.agent.call('boot', this.#request);
    if (outcome.kind === 'running') this.#place = { host, session };
    else await session[Symbol.asyncDispose]();
    this.#guest = JUST_BOOTED;
    const path = before && before !== host ? [before, host] : [host];
    this.#take(name, outcome, before ? { like: { step: 'boot', sameBoot: false } } : {}, path, [host]);
  }

  get #file(): string {
    return join(this.#folder, 'guest.snapshot');
  }

  async #save(): Promise<void> {
    await this.#agent.call('save', { file: this.#file });
    await this.#keepSnapshot(this.#guest);
  }

  async #keepSnapshot(guest: Guest): Promise<void> {
    const file = this.#file;
    const { gzip } = await this.#agent.call('fetch', { file });
    await this.#agent.call('remove', { file });
    this.#saved = { ...guest, gzip, host: this.#place!.host };
  }

  async #restoreOn(host: Host, name: string, { gzip, like, wrote, host: from }: Snapshot): Promise<void> {
    const source = this.#place!;
    const session = await host.warm();
    const file = join(this.#folder, 'restored.snapshot');
    let moved = false;
    try {
      await session.agent.call('put', { file, gzip });
      const outcome = await session.agent.call('restore', { ...this.#request, file });
      await session.agent.call('remove', { file });
      moved = outcome.kind === 'running';
      const expected = { like: { step: like, sameBoot: true }, wrote };
      if (moved) {
        this.#place = { host, session };
        this.#guest = { like, wrote };
      }
      this.#take(name, outcome, expected, [from, host]);
    } finally {
      await (moved ? source.session : session)[Symbol.asyncDispose]();
    }
    if (!moved) await this.dump();
  }

  async #end(): Promise<void> {
    const place = this.#place;
    this.#place = null;
    await place?.session[Symbol.asyncDispose]();
  }

  #takeUnchanged(event: string, outcome: Outcome, path?: readonly Host[]): void {
    const { like, wrote } = this.#guest;
    this.#take(event, outcome, { like: { step: like, sameBoot: true }, wrote }, path);
  }

  /** The guest changed its own state: this dump is what later ones must repeat. */
  #takeChanged(event: string, outcome: Outcome, wrote: readonly MsrWrite[]): void {
    const { like: after } = this.#guest;
    this.#guest = { ...this.#guest, wrote };
    this.#take(event, outcome, { after, wrote });
  }

  /** Judges a step. `path`: hosts that it went over; `on`: those that decide whether it may be refused. Throws `UnexpectedStep`. */
  #take(
    event: string,
    outcome: Outcome,
    expected: Pick<Step, 'like' | 'after' | 'wrote'>,
    path: readonly Host[] = [this.#place!.host],
    on: readonly Host[] = path,
  ): void {
    const name = event === 'boot' ? event : `${this.steps.length} ${event}`;
    const predicted = this.#predicted(on);
    const judged = this.#life.take({ name, outcome, ...expected });
    const altered = outcome.kind === 'running' && outcome.altered.length > 0;
    const verdict = judged?.verdict ?? (altered ? 'altered' : 'identical');
    const [from, to] = [path[0]!, path.at(-1)!].map(({ capabilities }) => capabilities.facts.kernel) as [
      string,
      string,
    ];
    const moved = path.length > 1 ? ([from, to] as const) : null;
    const recorded = isRecorded({ hosts: path.map(({ summary }) => summary.id) });
    this.steps.push({ event, verdict, recorded, moved });
    if (outcome.kind === 'running') this.#guest = { ...this.#guest, like: name };
    if (verdict === predicted) return;
    const reasons = (judged?.reasons ?? []).slice(0, 5).map(({ message }) => message);
    const where = path.map(({ summary }) => summary.id).join(' > ');
    throw new UnexpectedStep(
      `${this.#identity.pair} smp ${this.#stage.smp}, ${name} on ${where}: ${verdict}, predicted ${predicted}${reasons.map((one) => `\n  ${one}`).join('')}`,
    );
  }
}
