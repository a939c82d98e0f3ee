/** Port devices, and the bus that finds them. */
import type { IoExit } from '../kvm/exit.js';

/** What the monitor must act upon after a port access. */
export type DeviceEvent =
  /** A whole record of the probe, unchecked. */
  | { readonly kind: 'record'; readonly bytes: Uint8Array }
  /** The guest ends the machine. */
  | { readonly kind: 'exit'; readonly code: number }
  | { readonly kind: 'reset'; readonly by: 'reset-control' | 'keyboard' | 'fast-reset' | 'init' };

/** A device on I/O ports. Its `save` value is JSON and travels with snapshots and migrations. */
export interface PortDevice {
  /** Its name in a saved state. */
  readonly name: string;
  readonly ports: readonly number[];
  /** The answer to a read of `size` bytes. */
  read(port: number, size: number): number;
  write(port: number, value: number, size: number): DeviceEvent | null;
  reset(): void;
  save(): unknown;
  /** Takes what `save` gave. Throws `TypeError` where it is something else. */
  load(state: unknown): void;
}

/** All devices of a machine. A port without one reads all ones; writes to it are lost, as on a PC. */
export class PortBus {
  readonly devices: readonly PortDevice[];
  readonly #byPort: ReadonlyMap<number, PortDevice>;

  constructor(devices: readonly PortDevice[]) {
    this.devices = devices;
    this.#byPort = new Map(devices.flatMap((device) => device.ports.map((port) => [port, device] as const)));
  }

  /** Serves one exit: fills in what is read, and gives the events of what is written, in order. */
  serve({ direction, port, size, data }: IoExit): DeviceEvent[] {
    const device = this.#byPort.get(port);
    const events: DeviceEvent[] = [];
    for (let at = 0; at < data.length; at += size) {
      if (direction === 'in') put(data, at, size, device ? device.read(port, size) : 0xffff_ffff);
      else {
        const event = device?.write(port, take(data, at, size), size);
        if (event) events.push(event);
      }
    }
    return events;
  }
}

function put(data: Uint8Array, at: number, size: number, value: number): void {
  for (let i = 0; i < size; i++) data[at + i] = (value >>> (8 * i)) & 0xff;
}

function take(data: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let i = size - 1; i >= 0; i--) value = value * 256 + data[at + i]!;
  return value;
}
