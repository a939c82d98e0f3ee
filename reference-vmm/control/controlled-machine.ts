/** The machine as a control socket has it in hand: QEMU's run states and its events, over a machine that runs by itself. */
import type { LiveEvent, LiveMachine } from '../live-machine.js';
import type { EmitEvent } from './qmp-command.js';
import { QmpError } from './qmp-error.js';

/** QEMU's RunState (qapi/run-state.json), as far as this monitor knows them. */
export type ControlState =
  /** It was not started yet. */
  | 'prelaunch'
  /** It waits for a migration. */
  | 'inmigrate'
  | 'running'
  | 'paused'
  | 'save-vm'
  | 'restore-vm'
  /** Its guest was handed over, and may run elsewhere. */
  | 'postmigrate'
  /** It crashed. */
  | 'internal-error'
  | 'shutdown';

/** How the machine came to its end. */
export type MachineEnd =
  | { readonly kind: 'exit'; readonly code: number }
  | { readonly kind: 'crashed' | 'halted'; readonly message: string }
  /** `error`: of the monitor itself; else no guest came. */
  | { readonly kind: 'failed'; readonly message: string; readonly error?: Error }
  /** By its owner. */
  | { readonly kind: 'quit' }
  | { readonly kind: 'migrated' };

/** States in which the guest can be let run. */
const RESUMABLE: ReadonlySet<ControlState> = new Set(['prelaunch', 'running', 'paused']);

export class ControlledMachine implements Disposable {
  readonly #emit: EmitEvent;
  #live: LiveMachine;
  #state: ControlState;
  #end: (end: MachineEnd) => void = () => undefined;
  /** Settles when the machine is over, whoever ended it. */
  readonly ended: Promise<MachineEnd>;

  /** Takes over a machine that is paused. */
  constructor(live: LiveMachine, emit: EmitEvent, state: 'prelaunch' | 'inmigrate' | 'paused' = 'prelaunch') {
    this.#emit = emit;
    this.#state = state;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#live = live;
    live.onEvent((event) => this.#hear(event));
  }

  get live(): LiveMachine {
    return this.#live;
  }

  get state(): ControlState {
    return this.#state;
  }

  /** Does nothing to a machine that stands still. Throws `QmpError` during a hand-over, as all below but `quit` do. */
  stop(): void {
    if (this.#state !== 'running') return;
    this.#checkThatItIsHere();
    this.#live.pause();
    this.#state = 'paused';
    this.#emit('STOP');
  }

  /** Throws `QmpError` where the guest cannot go on. */
  cont(): void {
    if (this.#state === 'inmigrate') throw new QmpError('the machine waits for a migration');
    if (!RESUMABLE.has(this.#state)) throw new QmpError('Resetting the Virtual Machine is required');
    if (this.#state === 'running') return;
    this.#checkThatItIsHere();
    this.#live.resume();
    this.#state = 'running';
    this.#emit('RESUME');
  }

  /** Throws `QmpError` where the guest is elsewhere, `MachineError` where the kernel does not take a power-on value. */
  reset(): void {
    if (this.#state === 'postmigrate' || this.#state === 'inmigrate')
      throw new QmpError('the guest is not here: there is nothing to reset');
    this.#checkThatItIsHere();
    this.#live.reset();
    if (!RESUMABLE.has(this.#state)) this.#state = 'paused';
    this.#emit('RESET', { guest: false, reason: 'host-qmp-system-reset' });
  }

  quit(): void {
    if (this.#live.state === 'running') this.#live.pause();
    this.#state = 'shutdown';
    this.#emit('SHUTDOWN', { guest: false, reason: 'host-qmp-quit' });
    this.#end({ kind: 'quit' });
  }

  /** Stops the guest for `work`, and lets it go on if it ran. */
  async whileStopped<T>(state: 'save-vm' | 'restore-vm', work: () => T | Promise<T>): Promise<T> {
    const before = this.#state;
    if (!RESUMABLE.has(before)) throw new QmpError(`the machine is in state '${before}'`);
    this.#checkThatItIsHere();
    this.stop();
    this.#state = state;
    try {
      return await work();
    } finally {
      // A `quit` meanwhile stands.
      if (this.state === state) {
        this.#state = before === 'running' ? 'paused' : before;
        if (before === 'running') this.cont();
      }
    }
  }

  /** What is done to the guest during its hand-over would be lost, or let it run twice. */
  #checkThatItIsHere(): void {
    if (this.#live.held) throw new QmpError('the guest is being handed over to another machine');
  }

  /** Puts another machine in the place of this one, which ends. Precondition: `whileStopped`. */
  replace(live: LiveMachine): void {
    this.#live[Symbol.dispose]();
    this.#live = live;
    live.onEvent((event) => this.#hear(event));
  }

  /** The guest was handed over. */
  handedOver(): void {
    this.#state = 'postmigrate';
    this.#emit('STOP');
  }

  /** The guest arrived, and runs or not. */
  arrived(): void {
    this.#state = 'paused';
    if (this.#live.state !== 'running') return;
    this.#state = 'running';
    this.#emit('RESUME');
  }

  /** No guest came, or one that this machine cannot be. */
  incomingFailed(message: string): void {
    this.#state = 'shutdown';
    this.#end({ kind: 'failed', message });
  }

  #hear(event: LiveEvent): void {
    if (event.kind === 'reset') this.#emit('RESET', { guest: true, reason: 'guest-reset' });
    else if (event.kind === 'crashed') this.#broke({ kind: 'crashed', message: event.crash.message });
    else if (event.kind === 'failed') this.#broke({ kind: 'failed', message: event.error.message, error: event.error });
    else if (event.kind === 'halted')
      this.#broke({ kind: 'halted', message: 'the guest halted with nothing to wake it' });
    else if (event.kind === 'exit') {
      this.#state = 'shutdown';
      this.#emit('SHUTDOWN', { guest: true, reason: 'guest-shutdown' });
      this.#end({ kind: 'exit', code: event.code });
    }
  }

  #broke(end: MachineEnd): void {
    this.#state = 'internal-error';
    this.#emit('STOP');
    this.#end(end);
  }

  [Symbol.dispose](): void {
    this.#live[Symbol.dispose]();
  }
}
