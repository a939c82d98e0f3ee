/**
 * A machine that runs by itself, each vCPU on a thread, while its owner does other work: what live migration, live snapshots and the
 * control socket hold in their hands.
 *
 * It is `paused` until `resume`. Exits of its vCPUs are served on the owner's thread, between the turns of the event loop; so whatever the
 * owner does without awaiting is one moment to the guest's devices, but not to its memory, which the vCPUs go on writing.
 */
import { setImmediate } from 'node:timers/promises';
import { MachineError } from '../corpora/errors.js';
import type { CpuIdentity } from '../corpora/identity.js';
import type { GuestMemory } from './kvm/guest-memory.js';
import type { DirtyLog } from './kvm/kvm.js';
import { landingCount, nextLanding } from './kvm/vcpu-threads.js';
import type { TravelFacts } from './migration/offer.js';
import type { Machine, MachineEvent } from './monitor.js';
import type { MachineCore } from './snapshot/machine-state.js';

/**
 * `ended`: the guest shut down, crashed, or halted for ever; it stands still and cannot be resumed.
 */
export type RunState = 'paused' | 'running' | 'ended';

/** What a listener gets: the guest's events, and an error of the monitor itself (KVM fails), which ends the machine. */
export type LiveEvent = MachineEvent | { readonly kind: 'failed'; readonly error: Error };

/** Longest wait between two looks at the threads. */
const WATCH_MS = 1000;

export class LiveMachine implements Disposable {
  readonly machine: Machine;
  readonly #listeners = new Set<(event: LiveEvent) => void>();
  #state: RunState = 'paused';
  #resets = 0;
  /** How often it was resumed. */
  #resumes = 0;
  #held = false;

  /** Takes over a machine that was started, or that was given a state, or that is to be given one. Disposing this disposes it. */
  constructor(machine: Machine) {
    this.machine = machine;
  }

  get state(): RunState {
    return this.#state;
  }

  /** How often it was reset, each time with writes to memory that no dirty log notes. */
  get resets(): number {
    return this.#resets;
  }

  /** True while, and after, its guest is handed over to another machine: it must neither run nor change here. */
  get held(): boolean {
    return this.#held;
  }

  /** From here on `resume` and `reset` throw, until `letGo`: two machines never run one guest. Precondition: it stands still. */
  hold(): void {
    this.#held = true;
  }

  /** For whoever knows that the guest is not elsewhere. */
  letGo(): void {
    this.#held = false;
  }

  get identity(): CpuIdentity {
    return this.machine.identity;
  }

  /** Guest RAM, as it is at this moment. `regions[0]` is RAM from address 0 on. */
  get memory(): GuestMemory {
    return this.machine.memory;
  }

  /** RAM from address 0 on, to be asked for anew after every wait. Throws `MachineError` `guest-ended` once the machine is disposed. */
  get ram(): Uint8Array {
    const [ram] = this.memory.regions;
    if (!ram) throw new MachineError('guest-ended', 'the machine was disposed while somebody still used it');
    return ram.bytes;
  }

  /** Calls `listener` with each event. Gives what ends that. */
  onEvent(listener: (event: LiveEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Lets all vCPUs run. Does nothing to a machine that runs. Throws where it has ended, and `MachineError` `guest-held`. */
  resume(): void {
    if (this.#state === 'running') return;
    this.#checkThatItIsHere();
    if (this.#state === 'ended') throw new Error('the machine has ended');
    void this.ram;
    this.#state = 'running';
    this.#resumes += 1;
    this.machine.launch();
    void this.#serve(this.#resumes);
  }

  /**
   * Stops all vCPUs, each at the end of an instruction: once it is back the state is complete, and nothing writes to guest memory. Takes
   * some 0.1 ms for each vCPU. Does nothing to a machine that stands still. Events that came meanwhile are told at the next `resume`.
   */
  pause(): void {
    if (this.#state !== 'running') return;
    this.#stand('paused');
    this.machine.settle();
  }

  /**
   * Acts upon the events that came while it was being paused, and tells them: for whoever takes the state elsewhere, where nobody would.
   * It may have ended then.
   */
  tellWaiting(): void {
    for (let event = this.machine.poll(); event; event = this.machine.poll()) this.#act(event);
  }

  /** The image anew, all vCPUs as at power-on; it runs on where it ran, and one that had ended is paused. Throws `MachineError`. */
  reset(): void {
    this.#checkThatItIsHere();
    this.machine.reset();
    this.#resets += 1;
    if (this.#state === 'running') this.machine.launch();
    else this.#state = 'paused';
  }

  /** Queues bytes for the guest to read from COM1. */
  sendSerial(bytes: Uint8Array): void {
    this.machine.sendSerial(bytes);
  }

  /** Logs the pages of RAM that the guest writes, while it runs too. What the monitor itself writes at a reset is not in the log. */
  openDirtyLog(): DirtyLog {
    return this.machine.vm.openDirtyLog(0);
  }

  /** Everything but memory. Precondition: it does not run. Takes under 1 ms for each vCPU. */
  saveCore(): MachineCore {
    return this.machine.saveCore();
  }

  /** What of it must fit where its state goes. One that runs stands still for it, under 1 ms: KVM answers for no vCPU that runs. */
  travelFacts(): TravelFacts {
    const ran = this.#state === 'running';
    this.pause();
    const facts = this.machine.travelFacts();
    if (ran) this.resume();
    return facts;
  }

  #checkThatItIsHere(): void {
    if (this.#held) throw new MachineError('guest-held', 'the guest is being handed over to another machine');
  }

  async #serve(resumes: number): Promise<void> {
    const { machine } = this;
    // Nothing is told before `resume` is back.
    await setImmediate();
    // A pause and a resume between two turns begin another service.
    while (this.#state === 'running' && this.#resumes === resumes) {
      const seen = landingCount();
      try {
        for (let event = machine.poll(); event; event = machine.poll()) {
          this.#act(event);
          if (this.#state !== 'running') return;
        }
      } catch (error) {
        this.#stand('ended');
        this.#tell({ kind: 'failed', error: error as Error });
        return;
      }
      await nextLanding(seen, Math.min(WATCH_MS, machine.patienceMs));
    }
  }

  #act(event: MachineEvent): void {
    if (event.kind === 'reset') this.reset();
    else if (event.kind !== 'record' && event.kind !== 'interrupted') this.#stand('ended');
    this.#tell(event);
  }

  #stand(state: 'paused' | 'ended'): void {
    this.#state = state;
    this.machine.halt();
  }

  #tell(event: LiveEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  [Symbol.dispose](): void {
    if (this.#state === 'running') this.#stand('ended');
    this.#state = 'ended';
    this.#listeners.clear();
    this.machine[Symbol.dispose]();
  }
}
