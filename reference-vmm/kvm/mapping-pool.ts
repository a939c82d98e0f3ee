/**
 * Mappings of guest memory kept for the next guest: a view over 16 MiB costs Node 0.3 ms (it makes the collector run), a boot as a
 * whole little more than 1 ms.
 */
import { clear, type Mapping, mapAnonymous, unmap } from './libc.ffi.js';

/** Most mappings kept. */
const KEPT = 8;

export class MappingPool implements Disposable {
  readonly #free: Mapping[] = [];

  /** A zeroed mapping of exactly `length` bytes. Throws `KvmError`. */
  take(length: number): Mapping {
    const at = this.#free.findIndex((mapping) => mapping.bytes.length === length);
    return at >= 0 ? this.#free.splice(at, 1)[0]! : mapAnonymous(length);
  }

  /** Takes a mapping back and its contents away. No view of it may be used from here on. */
  give(mapping: Mapping): void {
    clear(mapping);
    this.#free.push(mapping);
    if (this.#free.length > KEPT) unmap(this.#free.shift()!);
  }

  [Symbol.dispose](): void {
    for (const mapping of this.#free.splice(0)) unmap(mapping);
  }
}
