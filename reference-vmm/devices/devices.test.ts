import fc from 'fast-check';
import t from 'tap';
import { PORT, RECORD_CAP, RECORD_MAGIC } from '../../corpora/probe-abi.js';
import type { IoExit } from '../kvm/exit.js';
import { GuestMemory } from '../kvm/guest-memory.js';
import { DebugExit } from './debug-exit.js';
import { type DeviceEvent, PortBus } from './device.js';
import { ProbePort } from './probe-port.js';
import { ResetPorts } from './reset-ports.js';
import { Serial16550 } from './serial-16550.js';

const access = (direction: 'in' | 'out', port: number, size: number, bytes: readonly number[]): IoExit => ({
  ...{ reason: 'io', direction, port, size },
  count: bytes.length / size,
  data: Uint8Array.from(bytes),
});
const out = (bus: PortBus, port: number, ...bytes: number[]): DeviceEvent[] => bus.serve(access('out', port, 1, bytes));
function read(bus: PortBus, port: number, size = 1): number[] {
  const exit = access('in', port, size, Array<number>(size).fill(0));
  bus.serve(exit);
  return [...exit.data];
}

void t.test('a port without a device reads all ones and swallows writes', async (t) => {
  const bus = new PortBus([new DebugExit()]);
  t.strictSame(read(bus, 0x1234, 4), [255, 255, 255, 255]);
  t.strictSame(out(bus, 0x1234, 1), []);
});

void t.test('debug-exit gives the whole code', async (t) => {
  const bus = new PortBus([new DebugExit()]);
  t.strictSame(bus.serve(access('out', PORT.debugExit, 4, [0x78, 0x56, 0x34, 0x92])), [
    { kind: 'exit', code: 0x92345678 },
  ]);
});

void t.test('each reset port asks for a reset, and only by its own value', async (t) => {
  const bus = new PortBus([new ResetPorts()]);
  t.strictSame(out(bus, PORT.resetControl, 0x02), []);
  t.strictSame(read(bus, PORT.resetControl), [0x02]);
  t.strictSame(out(bus, PORT.resetControl, 0x06), [{ kind: 'reset', by: 'reset-control' }]);
  for (const device of bus.devices) device.reset();
  t.strictSame(read(bus, PORT.resetControl), [0], 'as at power-on');
  t.strictSame(out(bus, PORT.keyboard, 0xd1), []);
  t.strictSame(out(bus, PORT.keyboard, 0xfe), [{ kind: 'reset', by: 'keyboard' }]);
  t.strictSame(out(bus, 0x92, 0x02), []);
  t.strictSame(out(bus, 0x92, 0x03), [{ kind: 'reset', by: 'fast-reset' }]);
});

void t.test('the serial port gives bytes in order, says when one waits, and hands on what is sent', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ maxLength: 40 }), (input, output) => {
      const sent: number[] = [];
      const serial = new Serial16550((byte) => sent.push(byte));
      const bus = new PortBus([serial]);
      serial.send(input);
      const received: number[] = [];
      while (read(bus, PORT.com1LineStatus)[0]! & 1) received.push(...read(bus, PORT.com1));
      t.strictSame(received, [...input]);
      bus.serve(access('out', PORT.com1, 1, [...output]));
      t.strictSame(sent, [...output]);
      t.equal(read(bus, PORT.com1LineStatus)[0], 0x60, 'empty transmitter, no byte');
    }),
    { seed: 1, numRuns: 50 },
  );
});

void t.test('a divisor is no data, and a FIFO reset drops what waits', async (t) => {
  const sent: number[] = [];
  const serial = new Serial16550((byte) => sent.push(byte));
  const bus = new PortBus([serial]);
  out(bus, PORT.com1 + 3, 0x83);
  out(bus, PORT.com1, 0x0c);
  t.strictSame(read(bus, PORT.com1), [0x0c]);
  out(bus, PORT.com1 + 3, 0x03);
  t.strictSame(sent, []);
  serial.send(Uint8Array.of(1, 2));
  out(bus, PORT.com1 + 2, 0x07);
  t.strictSame([read(bus, PORT.com1 + 2)[0]! & 0xc1, read(bus, PORT.com1LineStatus)[0]! & 1], [0xc1, 0]);
});

/** A record's frame with this payload. */
function frame(payload: Uint8Array): Uint8Array {
  const record = new Uint8Array(24 + payload.length);
  const view = new DataView(record.buffer);
  view.setUint32(0, RECORD_MAGIC, true);
  view.setUint32(8, record.length, true);
  record.set(payload, 24);
  return record;
}
const ram = (bytes: Uint8Array, at: number): GuestMemory => {
  const memory = new Uint8Array(0x40000);
  memory.set(bytes, at);
  return new GuestMemory([{ gpa: 0, bytes: memory, readOnly: false, hostAddress: 0n }]);
};

void t.test('a record is the same by doorbell, byte by byte, and cut by a save', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(200), (payload, cut) => {
      const record = frame(payload);
      const memory = ram(record, 0x1000);
      const event = [{ kind: 'record', bytes: record }];
      const doorbell = new PortBus([new ProbePort(memory)]);
      t.strictSame(doorbell.serve(access('out', PORT.probe, 4, [0, 0x10, 0, 0])), event);
      const first = new ProbePort(memory);
      const at = Math.min(cut, record.length - 1);
      t.strictSame(out(new PortBus([first]), PORT.probe, ...record.subarray(0, at)), []);
      const second = new ProbePort(memory);
      second.load(JSON.parse(JSON.stringify(first.save())));
      t.strictSame(out(new PortBus([second]), PORT.probe, ...record.subarray(at)), event);
    }),
    { seed: 2, numRuns: 30 },
  );
});

void t.test('a doorbell cannot reach beyond memory, nor ask for more than a record', async (t) => {
  const long = frame(new Uint8Array(0));
  new DataView(long.buffer).setUint32(8, 0xffff_ffff, true);
  const bus = new PortBus([new ProbePort(ram(long, 0x100))]);
  t.throws(() => bus.serve(access('out', PORT.probe, 4, [0, 0, 0, 0xff])), { code: 'guest-address' });
  const [event] = bus.serve(access('out', PORT.probe, 4, [0, 1, 0, 0]));
  t.equal(event?.kind === 'record' && event.bytes.length, RECORD_CAP);
});

void t.test('a saved device is the same device, and a malformed state is refused', async (t) => {
  const serial = new Serial16550(() => undefined);
  const bus = new PortBus([serial, new ResetPorts()]);
  serial.send(Uint8Array.of(5, 6, 7));
  out(bus, PORT.com1 + 7, 0x5a);
  out(bus, PORT.resetControl, 0x02);
  for (const device of bus.devices) {
    const twin = device instanceof Serial16550 ? new Serial16550(() => undefined) : new ResetPorts();
    twin.load(JSON.parse(JSON.stringify(device.save())));
    t.strictSame(twin.save(), device.save());
    t.notSame(new (twin.constructor as typeof ResetPorts)().save(), device.save(), 'there was something to save');
    for (const wrong of [null, {}, { control: 256 }, { control: '1' }, { input: 5 }])
      t.throws(() => twin.load(wrong), TypeError);
  }
});
