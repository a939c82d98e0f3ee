/** The destination of a migration: it makes the guest before the source stops it, takes all of it, and lets it run when told. */
import type { Duplex } from 'node:stream';
import { GuestAbiError } from '../../corpora/errors.js';
import { requirementOf } from '../../corpora/requirements.js';
import { type Reason, reason } from '../../corpora/verdict.js';
import { LiveMachine } from '../live-machine.js';
import { ContainerError, type Section } from '../snapshot/container.js';
import { MEMORY_LIMIT } from '../snapshot/file.js';
import { readCore } from '../snapshot/machine-state.js';
import { Link } from './link.js';
import { encodeJson, MESSAGE } from './messages.js';
import { decodeOffer, type Offer, offerReasons } from './offer.js';
import { receivePages } from './pages.js';
import { DEFAULT_PARAMETERS } from './parameters.js';

/** Makes the machine that is offered, CPUID read back and compared; or gives every reason why not. */
export type Realizer = (offer: Offer) => LiveMachine | readonly Reason[];

export type Arrival =
  /** The machine has the guest, and runs it where it ran; `notes` is what went otherwise without harm. */
  | { readonly kind: 'arrived'; readonly machine: LiveMachine; readonly notes: readonly Reason[] }
  | { readonly kind: 'refused'; readonly reasons: readonly Reason[] };

export interface ReceiveOptions {
  /** Milliseconds for which the source may be silent. */
  readonly silenceMs?: number;
  /** Called before the guest runs here. */
  readonly onRun?: () => void;
}

/**
 * Takes one migration over `duplex`. The guest runs only where this gives `arrived`: the machine is disposed of on every other path, and the
 * source has been told why, or the link is gone. Throws `MachineError` `migration-link` where the link broke before the hand-over, `ContainerError`
 * on a stream that is none.
 */
export async function migrateIn(
  duplex: Duplex,
  name: string,
  realize: Realizer,
  { silenceMs = DEFAULT_PARAMETERS['silence-limit'], onRun = () => undefined }: ReceiveOptions = {},
): Promise<Arrival> {
  const link = new Link(duplex, name, 'destination');
  try {
    return await new Incoming(link, realize, silenceMs, onRun).run();
  } finally {
    link.close();
  }
}

class Incoming {
  readonly #link: Link;
  readonly #realize: Realizer;
  readonly #silenceMs: number;
  readonly #onRun: () => void;

  constructor(link: Link, realize: Realizer, silenceMs: number, onRun: () => void) {
    this.#onRun = onRun;
    this.#link = link;
    this.#realize = realize;
    this.#silenceMs = silenceMs;
  }

  async run(): Promise<Arrival> {
    try {
      return await this.#receive();
    } catch (error) {
      // The source hears why, unless it is gone.
      if (error instanceof ContainerError) await this.#refuse(toReasons(error)).catch(() => undefined);
      throw error;
    }
  }

  async #receive(): Promise<Arrival> {
    const offer = decodeOffer(await this.#link.receive([MESSAGE.offer], this.#silenceMs), this.#link.name);
    const made = this.#make(offer);
    if (!(made instanceof LiveMachine)) return this.#refuse(made);
    const machine = made;
    try {
      await this.#send(MESSAGE.accepted, []);
      const notes: Reason[] = [];
      const reasons = await this.#take(machine, offer, notes);
      if (reasons.length > 0) {
        machine[Symbol.dispose]();
        return await this.#refuse(reasons);
      }
      await this.#send(MESSAGE.loaded, notes);
      await this.#run(machine);
      return { kind: 'arrived', machine, notes };
    } catch (error) {
      machine[Symbol.dispose]();
      throw error;
    }
  }

  /** A machine whose state the source's fits; else the reasons. */
  #make(offer: Offer): LiveMachine | readonly Reason[] {
    if (offer.memoryBytes > MEMORY_LIMIT)
      throw new ContainerError(
        this.#link.name,
        `guest memory of ${offer.memoryBytes} bytes, at most ${MEMORY_LIMIT} are allowed`,
      );
    return orReasons(() => {
      const made = this.#realize(offer);
      if (!(made instanceof LiveMachine)) return made;
      const reasons = [...made.machine.identityReasons(offer.identity), ...offerReasons(offer, made.travelFacts())];
      if (reasons.length === 0) return made;
      made[Symbol.dispose]();
      return reasons;
    });
  }

  /** Memory and state. Gives the reasons why it does not fit. */
  async #take(machine: LiveMachine, { identity }: Offer, notes: Reason[]): Promise<readonly Reason[]> {
    for (;;) {
      const section = await this.#link.receive([MESSAGE.pages, MESSAGE.machine], this.#silenceMs);
      if (section.type === MESSAGE.pages) {
        receivePages(section.payload as Buffer, machine.ram, this.#link.name);
        continue;
      }
      const sections: Section[] = [section];
      for (const _ of identity.vcpus) sections.push(await this.#link.receive([MESSAGE.vcpu], this.#silenceMs));
      refuseIfDisposed(machine);
      const core = readCore(identity, sections, this.#link.name, MEMORY_LIMIT);
      return orReasons(() => machine.machine.loadCore(core, () => undefined, notes));
    }
  }

  /** From `go` on the guest is here, whatever becomes of the link. */
  async #run(machine: LiveMachine): Promise<void> {
    const go = await this.#link.receive([MESSAGE.go], this.#silenceMs);
    this.#onRun();
    refuseIfDisposed(machine);
    if (go.payload[0]) machine.resume();
    try {
      await this.#link.send(MESSAGE.running, new Uint8Array(0), this.#silenceMs);
    } catch {
      // The source reports that it does not know; the guest runs.
    }
  }

  #send(type: number, reasons: readonly Reason[]): Promise<void> {
    return this.#link.send(type, encodeJson(reasons), this.#silenceMs);
  }

  async #refuse(reasons: readonly Reason[]): Promise<Arrival> {
    await this.#send(MESSAGE.refused, reasons);
    return { kind: 'refused', reasons };
  }
}

/** An expected error on this side (KVM fails, the state contradicts itself) is a refusal that the source must hear. */
function orReasons<T>(take: () => T): T | readonly Reason[] {
  try {
    return take();
  } catch (error) {
    if (!(error instanceof GuestAbiError)) throw error;
    return toReasons(error);
  }
}

function toReasons({ code, message }: GuestAbiError): readonly Reason[] {
  const requirement = requirementOf(code) ?? 'ABI-STATE-002';
  return [reason({ code, requirement, step: 'destination', message })];
}

/** Throws `MachineError` `guest-ended`: whoever made the machine may end it while this waits for the source. */
function refuseIfDisposed(machine: LiveMachine): void {
  void machine.ram;
}
