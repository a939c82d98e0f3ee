/** The port to which a probe sends its records: by doorbell, or byte by byte (corpora/probe-abi.ts). */
import { PORT, PROBE_DOORBELL, RECORD_CAP, RECORD_HEADER_BYTES, RECORD_MAGIC } from '../../corpora/probe-abi.js';
import { type GuestMemory, gpa } from '../kvm/guest-memory.js';
import type { DeviceEvent, PortDevice } from './device.js';
import { savedBytes } from './saved-fields.js';

const LENGTH_AT = 8;

export class ProbePort implements PortDevice {
  readonly name = 'probe-port';
  readonly ports = [PORT.probe];
  readonly #memory: GuestMemory;
  /** Bytes of a record that is not whole yet. */
  #partial: number[] = [];

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  read(): number {
    return PROBE_DOORBELL;
  }

  /** Four bytes ring the doorbell, one is a byte of a record. Throws `GuestAddressError` where a doorbell points outside guest memory. */
  write(_port: number, value: number, size: number): DeviceEvent | null {
    return size === 4 ? this.#fetch(value) : this.#append(value);
  }

  #fetch(address: number): DeviceEvent {
    const header = this.#memory.at(gpa(address), RECORD_HEADER_BYTES);
    return { kind: 'record', bytes: this.#memory.at(gpa(address), recordLength(header)).slice() };
  }

  #append(byte: number): DeviceEvent | null {
    this.#partial.push(byte & 0xff);
    if (this.#partial.length < RECORD_HEADER_BYTES) return null;
    if (this.#partial.length < recordLength(this.#partial)) return null;
    const bytes = Uint8Array.from(this.#partial);
    this.#partial = [];
    return { kind: 'record', bytes };
  }

  reset(): void {
    this.#partial = [];
  }

  save(): unknown {
    return { partial: Buffer.from(this.#partial).toString('base64') };
  }

  load(state: unknown): void {
    this.#partial = [...savedBytes(state, 'partial')];
  }
}

/** Length that a header claims, bounded; what is no record is handed on as far as its header, for the decoder to refuse. */
function recordLength(header: ArrayLike<number>): number {
  const word = (at: number) =>
    (header[at]! | (header[at + 1]! << 8) | (header[at + 2]! << 16) | (header[at + 3]! << 24)) >>> 0;
  if (word(0) !== RECORD_MAGIC) return RECORD_HEADER_BYTES;
  return Math.min(Math.max(word(LENGTH_AT), RECORD_HEADER_BYTES), RECORD_CAP);
}
