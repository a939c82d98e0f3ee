/** Ends the machine with a code, as QEMU's isa-debug-exit with iosize=4. */
import { PORT } from '../../corpora/probe-abi.js';
import type { DeviceEvent, PortDevice } from './device.js';

export class DebugExit implements PortDevice {
  readonly name = 'debug-exit';
  readonly ports = [PORT.debugExit, PORT.debugExit + 1, PORT.debugExit + 2, PORT.debugExit + 3];

  read(): number {
    return 0;
  }

  write(_port: number, value: number): DeviceEvent {
    return { kind: 'exit', code: value };
  }

  reset(): void {}

  save(): unknown {
    return {};
  }

  load(): void {}
}
