/** A vCPU that does nothing but ask COM1 for input, over and over, rests until there is some: else it would keep two threads busy. */

/** Polls that follow each other faster than this are a loop of nothing else. A witness (guest-probes) polls less often. */
const SPIN_MS = 0.2;
/** So many in a row. */
const SPINS = 32;
/** A poll that came to nothing is answered so late at most; what changes the answer ends the rest. */
const REST_MS = 10;

export class IdlePoll {
  #lastPoll = 0;
  #spins = 0;
  #resting: { readonly index: number; readonly until: number } | null = null;

  /** Takes note of a poll by vCPU number `index` that came to nothing. True where the vCPU is to rest: `due` gives it back. */
  rests(index: number): boolean {
    const now = performance.now();
    this.#spins = now - this.#lastPoll < SPIN_MS ? this.#spins + 1 : 0;
    this.#lastPoll = now;
    if (this.#spins < SPINS || this.#resting) return false;
    this.#resting = { index, until: now + REST_MS };
    return true;
  }

  /** Milliseconds to the end of the rest; `Infinity` where none rests. */
  get msLeft(): number {
    return this.#resting ? Math.max(this.#resting.until - performance.now(), 0) : Number.POSITIVE_INFINITY;
  }

  /** The vCPU whose rest is over, once. */
  due(): number | null {
    return this.msLeft === 0 ? this.end() : null;
  }

  /** Ends the rest. Gives the vCPU, null where none rested. */
  end(): number | null {
    const { index = null } = this.#resting ?? {};
    this.#resting = null;
    // The next poll comes at once and is still of the same loop.
    this.#lastPoll = performance.now();
    return index;
  }
}
