/** The vCPUs of a machine on threads of their own: each is running, or its exit waits to be served by the thread that owns the machine. */
import type { VcpuExit } from './kvm/exit.js';
import type { Vcpu } from './kvm/kvm.js';

/** The exit of the vCPU number `index`. */
export interface Landing {
  readonly index: number;
  readonly exit: VcpuExit;
}

export class Crew {
  readonly #vcpus: readonly Vcpu[];
  readonly #flying = new Set<number>();

  constructor(vcpus: readonly Vcpu[]) {
    this.#vcpus = vcpus;
  }

  get isFlying(): boolean {
    return this.#flying.size > 0;
  }

  /** Lets one vCPU run on. Precondition: it does not run. */
  launch(index: number): void {
    this.#flying.add(index);
    this.#vcpus[index]!.launch();
  }

  /** Lets all run. */
  launchAll(): void {
    for (const index of this.#vcpus.keys()) if (!this.#flying.has(index)) this.launch(index);
  }

  /** The exits that came since; their vCPUs stand still. */
  landed(): Landing[] {
    return [...this.#flying].flatMap((index) => {
      const exit = this.#vcpus[index]!.landed();
      if (exit === null) return [];
      this.#flying.delete(index);
      return [{ index, exit }];
    });
  }

  /** Stops all. Gives the exits of those that had one before they were kicked. */
  stopAll(): Landing[] {
    const flying = [...this.#flying];
    for (const index of flying) this.#vcpus[index]!.kick();
    this.#flying.clear();
    return flying.map((index) => ({ index, exit: this.#vcpus[index]!.land() }));
  }
}
