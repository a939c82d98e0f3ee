/** What an agent does on the KVM of its host: one guest at a time. */
import { rmSync } from 'node:fs';
import { InputError } from '../../../corpora/errors.js';
import { captureToJson } from '../../../corpora/host-capture.js';
import { msrFromJson } from '../../../corpora/identity.js';
import { type Reason, reason } from '../../../corpora/verdict.js';
import { hostCapabilities } from '../../../reference-vmm/kvm/capabilities.js';
import type { Kvm } from '../../../reference-vmm/kvm/kvm.js';
import { openKvm } from '../../../reference-vmm/kvm/system.js';
import { prepareThreads } from '../../../reference-vmm/kvm/vcpu-threads.js';
import type { Arrival } from '../../../reference-vmm/migration/destination.js';
import type { Creation } from '../../../reference-vmm/monitor.js';
import { writeSnapshot } from '../../../reference-vmm/snapshot/file.js';
import { withFault } from './faults.js';
import { createGuest, DUMP_DEADLINE_MS, identityOf, ProbeGuest, restoreGuest } from './guest.js';
import { inFolder } from './made-folders.js';
import type { Outcome, Params, Result } from './protocol.js';
import type { Handlers } from './server.js';

/** Handlers on /dev/kvm, which is opened with the first operation that needs it. A guest that does not dump within the deadline hangs. */
export function kvmHandlers(open: () => Kvm = openKvm, deadlineMs = DUMP_DEADLINE_MS): Handlers & Disposable {
  return new KvmHandlers(open, deadlineMs).handlers();
}

class KvmHandlers {
  readonly #open: () => Kvm;
  readonly #deadlineMs: number;
  #kvm: Kvm | null = null;
  #guest: ProbeGuest | null = null;
  #arriving: Promise<Arrival> | null = null;
  #stopListening: () => void = () => undefined;

  constructor(open: () => Kvm, deadlineMs: number) {
    this.#open = open;
    this.#deadlineMs = deadlineMs;
  }

  handlers(): Handlers & Disposable {
    return {
      capture: () => captureToJson(hostCapabilities(this.#host())) as never,
      boot: (request) => this.#boot(request),
      command: ({ command }) => this.#running().command(command),
      'write-msr': (request) => this.#running().writeMsr(msrFromJson(request), request.vcpu),
      save: ({ file }) => ({ bytes: writeSnapshot(inFolder(file), this.#running().saveState()) }),
      'save-live': ({ file }) => this.#running().saveLive(inFolder(file)),
      restore: (request) => this.#restore(request),
      send: (request) => this.#send(request),
      listen: (request) => this.#listen(request),
      received: () => this.#received(),
      fetch: async ({ file }) => ({ gzip: (await import('./packed-file.js')).packFile(file) }),
      put: async ({ file, gzip }) => {
        (await import('./packed-file.js')).unpackFile(inFolder(file), gzip);
        return {};
      },
      remove: ({ file }) => {
        rmSync(file, { force: true });
        return {};
      },
      close: () => this.#close(),
      [Symbol.dispose]: () => {
        this.#close();
        this.#kvm?.[Symbol.dispose]();
      },
    };
  }

  #host(fault: Params<'boot'>['fault'] = null): Kvm {
    this.#kvm ??= this.#open();
    return fault ? withFault(this.#kvm, fault) : this.#kvm;
  }

  async #boot(request: Params<'boot'>): Promise<Outcome> {
    await this.#prepare(request);
    const guest = this.#create(request, 'boot');
    return guest instanceof ProbeGuest ? guest.boot() : guest;
  }

  /** Ends the guest that was there, and has threads ready for the next one's vCPUs. A single one needs its own only where the guest runs `live`. */
  async #prepare({ identity: { vcpus } }: Params<'boot'>, live = false): Promise<void> {
    this.#close();
    if (vcpus.length > 1 || live) await prepareThreads(vcpus.length);
  }

  /** Ends the guest that was there, and makes the one of the request; an outcome where that was refused. */
  #create(request: Params<'boot'>, step: string, arrivingMsrs: readonly number[] = []): ProbeGuest | Outcome {
    this.#close();
    const created = createGuest(this.#host(request.fault), identityOf(request), request, step, arrivingMsrs);
    if (created.kind === 'refused') return refused(created.reasons);
    this.#guest = new ProbeGuest(created, this.#deadlineMs);
    return this.#guest;
  }

  async #restore(request: Params<'restore'>): Promise<Outcome> {
    await this.#prepare(request);
    const kvm = this.#host(request.fault);
    let created: Creation;
    try {
      created = restoreGuest(kvm, request, (identity) => {
        const other = otherIdentity(identity.pair, request);
        return other ? [other] : [];
      });
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      return refused([reason({ code: error.code, step: 'restore', layer: 'monitor', message: error.message })]);
    }
    if (created.kind === 'refused') return refused(created.reasons);
    this.#guest = new ProbeGuest(created, this.#deadlineMs);
    return this.#guest.command('dump');
  }

  async #send(request: Params<'send'>): Promise<Result<'send'>> {
    const { live } = this.#running();
    const { sendGuest } = await import('./moves.js');
    await prepareThreads(1);
    live.resume();
    try {
      const end = await sendGuest(live, request);
      if (end.kind === 'refused') return refused(end.reasons);
      if (end.kind === 'cancelled') return { kind: 'stayed' };
      this.#close();
      return { kind: 'sent' };
    } finally {
      // Between operations a guest stands still.
      live.pause();
    }
  }

  async #listen(request: Params<'listen'>): Promise<Record<string, never>> {
    const { awaitGuest } = await import('./moves.js');
    await this.#prepare(request, true);
    const { arriving, stop } = await awaitGuest(request.socket, ({ identity, msrs }) => {
      const other = otherIdentity(identity.pair, request);
      if (other) return [other];
      const guest = this.#create(request, 'destination', msrs);
      if (guest instanceof ProbeGuest) return guest.live;
      return guest.kind === 'refused' ? guest.reasons : [];
    });
    this.#stopListening = stop;
    this.#arriving = arriving;
    return {};
  }

  async #received(): Promise<Outcome> {
    if (!this.#arriving) throw new InputError('not-listening', 'this agent listens for no migration');
    const arriving = this.#arriving;
    this.#arriving = null;
    const arrival = await arriving;
    if (arrival.kind === 'refused') return this.#refuse(arrival.reasons);
    arrival.machine.pause();
    return this.#running().command('dump');
  }

  #refuse(reasons: readonly Reason[]): Outcome {
    this.#close();
    return refused(reasons);
  }

  #running(): ProbeGuest {
    if (!this.#guest) throw new InputError('no-guest', 'this agent runs no guest');
    return this.#guest;
  }

  #close(): Record<string, never> {
    this.#stopListening();
    this.#guest?.[Symbol.dispose]();
    this.#guest = null;
    return {};
  }
}

const refused = (reasons: readonly Reason[]): Outcome => ({ kind: 'refused', reasons: [...reasons] });

/** A state of another pair than the one that is expected here: nothing is made for it. */
const otherIdentity = (pair: string, request: Params<'boot'>): Reason | null =>
  pair === request.identity.pair
    ? null
    : reason({
        code: 'other-pair',
        step: 'destination',
        contract: request.identity.pair,
        guest: pair,
        layer: 'monitor',
        message: `the state is of ${pair}, expected was ${request.identity.pair}`,
      });
