/** Keeps to a bandwidth limit: how long to rest after each message. */
export class Pace {
  readonly #bytesPerMs: number;
  /** When all that was sent so far may have been sent. */
  #due = performance.now();

  /** Bytes a second; 0 = no limit. */
  constructor(limit: number) {
    this.#bytesPerMs = limit / 1000;
  }

  /** Milliseconds until the message after one of so many bytes may go. */
  restAfter(bytes: number): number {
    if (this.#bytesPerMs === 0) return 0;
    // What was not used is lost: a pause must not be followed by a burst.
    this.#due = Math.max(this.#due, performance.now()) + bytes / this.#bytesPerMs;
    return this.#due - performance.now();
  }
}
