/** COM1: as much of a 16550A as a guest needs that polls. It raises no interrupt. (National PC16550D data sheet, section 8.) */
import { PORT } from '../../corpora/probe-abi.js';
import type { DeviceEvent, PortDevice } from './device.js';
import { savedBytes, savedNumber } from './saved-fields.js';

/** Registers by offset from the base. With LCR.DLAB set, 0 and 1 are the divisor. */
const REG = { data: 0, interruptEnable: 1, interruptId: 2, lineControl: 3, modemControl: 4, lineStatus: 5, scratch: 7 };
const LINE_STATUS = { dataReady: 0x01, transmitterEmpty: 0x60 } as const;
const NO_INTERRUPT = 0x01;
const FIFOS_ENABLED = 0xc0;
const DLAB = 0x80;
/** CTS, DSR and DCD: a terminal is there. */
const MODEM_STATUS = 0xb0;

export class Serial16550 implements PortDevice {
  readonly name = 'serial-16550';
  readonly ports = Array.from({ length: 8 }, (_, i) => PORT.com1 + i);
  readonly #onOutput: (byte: number) => void;
  #input: number[] = [];
  #registers = new Uint8Array(8);
  #divisor = new Uint8Array(2);
  #fifos = false;
  #vainPolls = 0;

  /** `onOutput` gets each byte that the guest sends. */
  constructor(onOutput: (byte: number) => void) {
    this.#onOutput = onOutput;
  }

  /** How often the guest asked for input and there was none. */
  get vainPolls(): number {
    return this.#vainPolls;
  }

  /** Queues bytes for the guest to read. */
  send(bytes: Uint8Array): void {
    for (const byte of bytes) this.#input.push(byte);
  }

  read(port: number): number {
    const register = port - PORT.com1;
    if (register <= 1 && this.#dlab) return this.#divisor[register]!;
    if (register === REG.data) return this.#input.shift() ?? 0;
    if (register === REG.interruptId) return NO_INTERRUPT | (this.#fifos ? FIFOS_ENABLED : 0);
    if (register === REG.lineStatus) return LINE_STATUS.transmitterEmpty | this.#dataReady();
    if (register === 6) return MODEM_STATUS;
    return this.#registers[register]!;
  }

  #dataReady(): number {
    if (this.#input.length > 0) return LINE_STATUS.dataReady;
    this.#vainPolls += 1;
    return 0;
  }

  write(port: number, value: number): DeviceEvent | null {
    const register = port - PORT.com1;
    if (register <= 1 && this.#dlab) this.#divisor[register] = value;
    else if (register === REG.data) this.#onOutput(value & 0xff);
    else if (register === REG.interruptId) this.#fifoControl(value);
    else this.#registers[register] = value;
    return null;
  }

  #fifoControl(value: number): void {
    this.#fifos = (value & 1) !== 0;
    if (value & 2) this.#input = [];
  }

  get #dlab(): boolean {
    return (this.#registers[REG.lineControl]! & DLAB) !== 0;
  }

  /** What was sent and not yet read is lost, as on a wire. */
  reset(): void {
    this.#input = [];
    this.#registers.fill(0);
    this.#divisor.fill(0);
    this.#fifos = false;
  }

  save(): unknown {
    const text = (bytes: Iterable<number>) => Buffer.from([...bytes]).toString('base64');
    return {
      input: text(this.#input),
      registers: text(this.#registers),
      divisor: text(this.#divisor),
      fifos: this.#fifos ? 1 : 0,
    };
  }

  load(state: unknown): void {
    const registers = savedBytes(state, 'registers');
    const divisor = savedBytes(state, 'divisor');
    if (registers.length !== 8 || divisor.length !== 2) throw new TypeError('registers of another length');
    this.#fifos = savedNumber(state, 'fifos', 1) === 1;
    this.#input = [...savedBytes(state, 'input')];
    this.#registers.set(registers);
    this.#divisor.set(divisor);
  }
}
