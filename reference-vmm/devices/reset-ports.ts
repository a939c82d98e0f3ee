/** The ways in which a PC's software resets it by a port: reset control register, keyboard controller, fast reset, and our ROM. */
import { PORT } from '../../corpora/probe-abi.js';
import { ROM_RESET_PORT } from '../boot/rom.js';
import type { DeviceEvent, PortDevice } from './device.js';
import { savedNumber } from './saved-fields.js';

/** System control port A: bit 0 resets, bit 1 is A20. */
const PORT_92 = 0x92;
const KEYBOARD_PULSE_RESET = 0xfe;

/** PIIX3/ICH9 reset control register: setting bit 2 (RCPU) resets; bit 1 chooses which reset. (ICH9 data sheet, 13.7.5.) */
const RESET_CPU = 0x04;

export class ResetPorts implements PortDevice {
  readonly name = 'reset-ports';
  readonly ports = [PORT.resetControl, PORT.keyboard, PORT_92, ROM_RESET_PORT];
  #control = 0;

  read(port: number): number {
    if (port === PORT.resetControl) return this.#control;
    // Keyboard status: no input, no output waits. Port 92: A20 is on.
    return port === PORT_92 ? 0x02 : 0;
  }

  write(port: number, value: number): DeviceEvent | null {
    if (port === ROM_RESET_PORT) return { kind: 'reset', by: 'init' };
    if (port === PORT.keyboard) return value === KEYBOARD_PULSE_RESET ? { kind: 'reset', by: 'keyboard' } : null;
    if (port === PORT_92) return value & 1 ? { kind: 'reset', by: 'fast-reset' } : null;
    this.#control = value & ~RESET_CPU & 0xff;
    return value & RESET_CPU ? { kind: 'reset', by: 'reset-control' } : null;
  }

  reset(): void {
    this.#control = 0;
  }

  save(): unknown {
    return { control: this.#control };
  }

  load(state: unknown): void {
    this.#control = savedNumber(state, 'control', 0xff);
  }
}
